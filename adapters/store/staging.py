"""Changes the store only by renames, so that a process killed at any moment leaves the old adapter or the new one.

A new adapter is prepared in .staging beside the adapters. Then the old one is moved to .staging/old-NAME, where readers
still find it (adapters.store.adapter_store), the new one is moved into its place, and the old one is deleted. A lock
file keeps two processes from changing the store at once. The next process that gets the lock repairs what a killed one
left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from adapters.store.adapter_store import REPLACED, STAGING
from models.core.files import alone, sync_directory, written_to
from models.core.types import Progress, no_progress

_LOCK = "lock"


class Staging:
    """The store while this process holds its lock. Made by `changing`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._staging = directory / STAGING

    def new_folder(self) -> Path:
        """An empty folder to prepare an adapter in. It is deleted when the change is over."""
        folder = self._staging / "new"
        folder.mkdir(mode=0o700)
        return folder

    def settle(self, folder: Path, name: str) -> None:
        """Move a folder into an adapter's place. An adapter that is there already is deleted."""
        for file in folder.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        sync_directory(folder)
        place, replaced = self._directory / name, self._staging / f"{REPLACED}{name}"
        if place.exists():
            place.replace(replaced)
        folder.replace(place)
        sync_directory(self._directory)

    def discard(self, name: str) -> None:
        """Remove an adapter."""
        (self._directory / name).replace(self._staging / f"gone-{name}")
        sync_directory(self._directory)

    def tidy(self) -> None:
        """Clean up after a change, also after one that was killed.

        An old adapter without a new one is moved back to its place. Everything else is deleted.
        """
        for entry in list(self._staging.iterdir()):
            name = entry.name.removeprefix(REPLACED)
            if name != entry.name and not (self._directory / name).exists():
                entry.replace(self._directory / name)
            elif name != entry.name:
                gone = self._staging / f"gone-{name}"
                entry.replace(gone)  # not half deleted where readers look
                _delete(gone)
            elif entry.name != _LOCK:
                _delete(entry)


@contextmanager
def changing(directory: Path, progress: Progress = no_progress) -> Iterator[Staging]:
    """Hold the store's lock inside the block. Errors of the disk inside it become UserErrors."""
    with written_to(directory, "make room, or check that you may write there"):
        (directory / STAGING).mkdir(parents=True, exist_ok=True)
        waiting = partial(
            progress, "pull", "Another process is changing the adapters; waiting for it", 0, None
        )
        with alone(directory / STAGING / _LOCK, waiting):
            staging = Staging(directory)
            staging.tidy()
            try:
                yield staging
            finally:
                staging.tidy()


def _delete(entry: Path) -> None:
    """Delete a file or folder. What cannot be deleted now, such as an open file on Windows, is left for the next
    change."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
