"""The models on this machine: pulled whole or not at all, listed, removed.

A model is a directory under the store's root, put there by one rename after every file was checked and
flushed; what is unfinished lives under .staging and is taken up again by the next pull. A lock file keeps two
processes from pulling or removing the same model at once. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from models.core.errors import NeedsNetwork, UserError
from models.core.files import alone, file_digest, sync_directory
from models.core.types import Progress, no_progress
from models.hub.catalog import Catalog, CatalogEntry, CatalogFile, PypiSource, read_catalog

MANIFEST = "model.json"
SPARE_BYTES = 64 << 20  # left free on the disk beside what is pulled


@dataclass(frozen=True)
class ModelFiles:
    """A model that is whole on this machine.

    files: path by role. digests: sha256 (hex) by role. bundled: what comes with the app for this model.
    digest: identity of the published weights (of all roles together).
    """

    name: str
    family: str
    directory: Path
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    bundled: Path | None
    digest: str


@dataclass(frozen=True)
class ModelStatus:
    """A line of the list of models. size: bytes on the disk; download_size: bytes over the network."""

    entry: CatalogEntry
    pulled: bool
    default: bool


class ModelStore:
    """The models under one directory."""

    def __init__(self, root: Path, catalog: Catalog | None = None) -> None:
        """catalog: what can be pulled; the app's own and root/catalog.toml when it is not given."""
        self.root = root
        self.catalog = catalog or read_catalog(root / "catalog.toml")

    def list(self) -> tuple[ModelStatus, ...]:
        """Every known model, the pulled ones first."""
        statuses = [self.show(name) for name in sorted(self.catalog.entries)]
        return tuple(sorted(statuses, key=lambda status: not status.pulled))

    def show(self, name: str) -> ModelStatus:
        """Raises UserError when there is no such model."""
        entry = self.catalog.entry(name)
        return ModelStatus(entry, self._pulled(entry) is not None, name == self.catalog.default)

    def find(self, name: str) -> ModelFiles | None:
        """The model if it is whole on this machine; never touches the network."""
        return self._pulled(self.catalog.entry(name))

    def identity(self, name: str) -> str:
        """sha256 (hex) over the published weights and what the app bundles, except for texts about it: another
        one, other answers."""
        entry = self.catalog.entry(name)
        digest = hashlib.sha256(entry.digest.encode())
        bundled = sorted(entry.bundled.rglob("*")) if entry.bundled else []
        for file in bundled:
            if file.is_file() and file.suffix != ".md":
                digest.update(f"{file.name} {file_digest(file)}\n".encode())
        return digest.hexdigest()

    def pull(self, name: str, progress: Progress = no_progress, *, offline: bool = False) -> ModelFiles:
        """The model, fetched first if it is not here.

        progress: told bytes over the network, of all files together. What it raises stops the pull; what was
        fetched is kept for the next one. Raises NeedsNetwork when something must be downloaded and offline is
        set or the source is out of reach; UserError when the model is unknown, the disk too small or full, or
        a file not the one that was pinned.
        """
        entry = self.catalog.entry(name)
        if found := self._pulled(entry):
            return found
        if offline and entry.download_size:
            raise NeedsNetwork(
                f"The model {name} is not on this machine and the app is offline; "
                f"run `edge-app models pull {name}` once with a network ({_megabytes(entry.download_size)})"
            )
        with self._locked(name, progress):
            if found := self._pulled(entry):  # another process was faster
                return found
            self._fetch(entry, progress)
        files = self._pulled(entry)
        if files is None:
            raise UserError(f"{self.root / name} was changed while it was being pulled; pull {name} again")
        return files

    def remove(self, name: str) -> int:
        """Delete a model and whatever is left of unfinished pulls of it; returns the bytes that were freed.

        A process that has it open keeps what it has mapped, where the system allows deleting open files.
        """
        entry = self.catalog.entry(name)
        with self._locked(name, no_progress):
            freed = 0
            for directory in (self.root / name, *self._stagings(entry)):
                if directory.exists():
                    freed += sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
                    self._discard(directory)
        return freed

    def _pulled(self, entry: CatalogEntry) -> ModelFiles | None:
        """The model if its manifest is that of the catalog and every file has its size."""
        directory = self.root / entry.name
        try:
            if json.loads((directory / MANIFEST).read_bytes()) != _manifest(entry):
                return None
            whole = all((directory / file.pin.name).stat().st_size == file.pin.size for file in entry.files)
        except (OSError, ValueError):
            return None
        if not whole:
            return None
        return ModelFiles(
            name=entry.name,
            family=entry.family,
            directory=directory,
            files=MappingProxyType({file.role: directory / file.pin.name for file in entry.files}),
            digests=MappingProxyType({file.role: file.pin.sha256 for file in entry.files}),
            bundled=entry.bundled,
            digest=entry.digest,
        )

    def _fetch(self, entry: CatalogEntry, progress: Progress) -> None:
        """Complete the staging directory and put it in place."""
        staging = self._staging(entry)
        for stale in self._stagings(entry):
            if stale != staging:
                self._discard(stale)
        staging.mkdir(parents=True, exist_ok=True)
        self._check_space(entry, staging)
        _fetch_files(entry, staging, progress)
        with (staging / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(_manifest(entry), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(staging)
        if (self.root / entry.name).exists():
            self._discard(self.root / entry.name)
        staging.replace(self.root / entry.name)
        sync_directory(self.root)

    def _check_space(self, entry: CatalogEntry, staging: Path) -> None:
        """Room for what is missing, a wheel and what is unpacked from it beside each other."""
        needed = entry.size + max(_archive_size(file) for file in entry.files)
        there = sum(file.stat().st_size for file in staging.iterdir())
        free = shutil.disk_usage(staging).free
        if free < needed - there + SPARE_BYTES:
            raise UserError(
                f"{self.root} has {_megabytes(free)} free, but {entry.name} needs {_megabytes(needed)}; "
                "make room, or set EDGE_APP_HOME to another disk"
            )

    def _staging(self, entry: CatalogEntry) -> Path:
        return self.root / ".staging" / f"{entry.name}@{entry.digest[:16]}"

    def _stagings(self, entry: CatalogEntry) -> tuple[Path, ...]:
        return tuple(sorted((self.root / ".staging").glob(f"{entry.name}@*")))

    def _discard(self, directory: Path) -> None:
        """Out of the way by one rename, then deleted; a leftover is deleted by the next pull or removal."""
        trash = self.root / ".staging" / f"{directory.name.partition('@')[0]}@trash-{os.getpid()}"
        shutil.rmtree(trash, ignore_errors=True)
        trash.parent.mkdir(parents=True, exist_ok=True)
        try:
            directory.replace(trash)
        except OSError as error:
            raise UserError(f"{directory} cannot be removed ({error.strerror}); is it in use?") from None
        shutil.rmtree(trash, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str, progress: Progress) -> Iterator[None]:
        """Alone with this model; what the disk refuses inside becomes a UserError."""
        try:
            (self.root / ".staging").mkdir(parents=True, exist_ok=True)
            waiting = partial(
                progress, "pull", f"Another process is working on {name}; waiting for it", 0, None
            )
            with alone(self.root / ".staging" / f"{name}.lock", waiting):
                yield
        except OSError as error:
            raise UserError(f"{self.root} cannot be written ({error.strerror or error})") from None


def check_digests(files: ModelFiles) -> None:
    """Hold every file against its published sha256 (0.1 s for 100 MB). Raises UserError if one differs."""
    for role, path in files.files.items():
        if file_digest(path) != files.digests[role]:
            raise UserError(
                f"{path} is damaged: its sha256 is not the published one; run `edge-app models remove "
                f"{files.name}` and then `edge-app models pull {files.name}`."
            )


def _fetch_files(entry: CatalogEntry, staging: Path, progress: Progress) -> None:
    from models.hub import sources  # an HTTP client takes half a second to import, and most starts need none

    total, before = entry.download_size, 0
    for file in entry.files:
        message = f"Downloading {entry.name}: {file.pin.name}" if total else f"Copying {file.pin.name}"
        progress("pull", message, before, total or None)

        def received(count: int, message: str = message, before: int = before) -> None:
            progress("pull", message, before + count, total)

        target = staging / file.pin.name
        if not (target.exists() and file_digest(target) == file.pin.sha256):
            sources.fetch(file, target, received)
        before += file.download_size
    progress("pull", f"{entry.name} is complete", total, total)


def _manifest(entry: CatalogEntry) -> dict[str, object]:
    files = {file.role: [file.pin.name, file.pin.size, file.pin.sha256] for file in entry.files}
    return {"format": 1, "name": entry.name, "licence": entry.licence, "files": files}


def _archive_size(file: CatalogFile) -> int:
    return file.source.archive.size if isinstance(file.source, PypiSource) else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
