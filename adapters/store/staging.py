"""Changes the store by renames alone: whoever is killed at any moment leaves the old adapter or the new one.

A new adapter is made ready in .staging beside the adapters. To take its place, the old one moves to
.staging/old-NAME, where readers still find it (adapters.store.adapter_store), the new one moves in, the old
one goes. A lock
file keeps two processes from changing the store at once; whoever gets it first puts right what a killed one
left. Knows nothing of what adapters are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from adapters.store.adapter_store import ASIDE, STAGING
from models.core.files import alone, sync_directory, written_to
from models.core.types import Progress, no_progress

_LOCK = "lock"


class Staging:
    """The store while this process alone changes it; got from `changing`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._staging = directory / STAGING

    def new_folder(self) -> Path:
        """An empty folder to make an adapter ready in; gone when the change is over."""
        folder = self._staging / "new"
        folder.mkdir(mode=0o700)
        return folder

    def settle(self, folder: Path, name: str) -> None:
        """Put a folder in an adapter's place, the old one's if there is one."""
        for file in folder.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        sync_directory(folder)
        place, aside = self._directory / name, self._staging / f"{ASIDE}{name}"
        if place.exists():
            place.replace(aside)
        folder.replace(place)
        sync_directory(self._directory)

    def discard(self, name: str) -> None:
        """Take an adapter away."""
        (self._directory / name).replace(self._staging / f"gone-{name}")
        sync_directory(self._directory)

    def tidy(self) -> None:
        """Put right what a change left, or one that was killed: old adapters without a new one go back to
        their place, everything else goes."""
        for entry in list(self._staging.iterdir()):
            name = entry.name.removeprefix(ASIDE)
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
    """Alone with the store until the block is left. What the disk refuses inside becomes a UserError."""
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
    """What cannot be deleted now (a file that is open, on some systems) goes with the next change."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
