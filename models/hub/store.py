"""The models on this machine. A model is pulled whole or not at all.

A model is a directory under the store's root. One rename puts it there, after every file was checked and synced.
Unfinished pulls are in .staging, where the next pull continues them. A lock file keeps two processes from changing the
same model at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from models.core.errors import NeedsNetwork, UserError
from models.core.files import alone, file_digest, sync_directory, write_whole
from models.core.types import Progress, no_progress
from models.formats.model_description import describe_files
from models.hub.catalog import DEFAULT_ENGINE, MODEL_NAME, Catalog, CatalogEntry, CatalogFile, PypiSource
from models.hub.catalog_file import ADDED, as_toml, read_catalog
from models.hub.selection import LANGUAGE_MODEL, MMPROJ

MANIFEST = "model.json"
SPARE_BYTES = 64 << 20  # that must stay free on the disk after a pull


@dataclass(frozen=True)
class ModelFiles:
    """A model that is complete on this machine.

    files: path by role. digests: sha256 (hex) by role. bundled: directory of its files that come with the app.
    digest: of the published weights, all roles together.
    family: see models.families.registry. engine: see models.engine.load_model.
    """

    name: str
    family: str
    directory: Path
    files: Mapping[str, Path]
    digests: Mapping[str, str]
    bundled: Path | None
    digest: str
    engine: str = DEFAULT_ENGINE


@dataclass(frozen=True)
class BaseDigests:
    """What an adapter's manifest may say of the weights that it was trained on.

    current: sha256 (hex) over the published weights and the projector. The rest of the bundled files does not matter to
    an adapter: the base LoRA answers where no adapter does, and the wording is recorded as the prompt format.
    accepted: current, and digests of other forms that earlier versions wrote for weights that are the same.
    """

    current: str
    accepted: frozenset[str]


@dataclass(frozen=True)
class ModelStatus:
    """A line of the list of models. pulled: whether it is on this machine. default: whether it is the default."""

    entry: CatalogEntry
    pulled: bool
    default: bool


class ModelStore:
    """The models under one directory."""

    def __init__(self, root: Path, catalog: Catalog | None = None) -> None:
        """catalog: None takes the app's own, extended by root/catalog.toml."""
        self.root = root
        self.catalog = catalog or read_catalog(root / "catalog.toml")

    def list(self) -> tuple[ModelStatus, ...]:
        """All known models by name, pulled ones first."""
        statuses = [self.show(name) for name in sorted(self.catalog.entries)]
        return tuple(sorted(statuses, key=lambda status: not status.pulled))

    def show(self, name: str) -> ModelStatus:
        """The status of one model. Raises UserError when it is unknown."""
        entry = self.catalog.entry(name)
        files = self._pulled(entry)
        if files is not None and entry.origin:
            entry = _with_memory(entry, files)
        return ModelStatus(entry, files is not None, name == self.catalog.default)

    def pulled_from(self, origin: str, name: str = "") -> ModelFiles | None:
        """The model that was added from this source, if it is complete on this machine. name: "" takes any."""
        entries = [e for e in self.catalog.entries.values() if origin == e.origin and name in ("", e.name)]
        return next((found for entry in entries if (found := self._pulled(entry))), None)

    def find(self, name: str) -> ModelFiles | None:
        """The model if it is complete on this machine. Makes no request."""
        return self._pulled(self.catalog.entry(name))

    def identity(self, name: str) -> str:
        """sha256 (hex) over the published weights and the bundled files, without their *.md.

        Models of the same identity give the same answers.
        """
        entry = self.catalog.entry(name)
        digest = hashlib.sha256(entry.digest.encode())
        bundled = sorted(entry.bundled.rglob("*")) if entry.bundled else []
        for file in bundled:
            if file.is_file() and file.suffix != ".md":
                digest.update(f"{file.name} {file_digest(file)}\n".encode())
        return digest.hexdigest()

    def base_digests(self, name: str) -> BaseDigests:
        """The digests that adapters of this model may declare. Raises UserError when the model is unknown."""
        entry = self.catalog.entry(name)
        digest = hashlib.sha256(entry.digest.encode())
        if (projector := _projector(entry)) is not None:
            digest.update(f"{projector.name} {file_digest(projector)}\n".encode())
        current = digest.hexdigest()
        # Version 0.1 wrote the identity.
        return BaseDigests(current, frozenset((current, self.identity(name), *entry.earlier_base_digests)))

    def pull(self, name: str, progress: Progress = no_progress, *, offline: bool = False) -> ModelFiles:
        """The model, downloaded first if it is not on this machine.

        progress: called with the bytes downloaded, of all files together. An exception from it stops the pull, and
        the next pull resumes it. Raises NeedsNetwork when something must be downloaded and offline is set or the
        source cannot be reached, and UserError when the model is unknown, the disk too small, or a file not the
        pinned one.
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
            if found := self._pulled(entry):  # another process has pulled it
                return found
            self._fetch(entry, progress)
        files = self._pulled(entry)
        if files is None:
            raise UserError(f"{self.root / name} was changed while it was being pulled; pull {name} again")
        return files

    def add(self, entry: CatalogEntry, contents: Mapping[str, bytes]) -> None:
        """Add a model to the catalog, so that `pull` finds it. It is kept in the folder ADDED until it is removed.

        contents: files that were downloaded already, by name; they are not downloaded again.
        Raises UserError when another model has this name.
        """
        with self._locked(entry.name, no_progress):
            self.catalog = read_catalog(self.root / "catalog.toml")
            there = self.catalog.entries.get(entry.name)
            if there is not None and there.origin == entry.origin and self._pulled(there) is None:
                there = None  # its branch has moved since a pull that was not finished
            if there is not None and (there.digest, there.family) != (entry.digest, entry.family):
                which = f" (from {there.origin})" if there.origin else ""
                added = self._added(entry.name).exists()
                removable = (
                    f", or remove that one first: `edge-app models remove {entry.name}`" if added else ""
                )
                raise UserError(
                    f"There is another model named {entry.name}{which}; give this one a name by --name{removable}."
                )
            if there is None:
                (self.root / ADDED).mkdir(exist_ok=True)
                write_whole(self._added(entry.name), as_toml(entry))
                self.catalog = read_catalog(self.root / "catalog.toml")
            if self._pulled(entry) is None:
                staging = self._staging(entry)
                for name, content in contents.items():
                    write_whole(staging / name, content)

    def remove(self, name: str) -> int:
        """Delete a model and unfinished pulls of it. Returns the bytes that were freed.

        A model that was added leaves the catalog; what it was copied from stays. A process that has the model open
        keeps its mapped files, on systems that can delete open files. Raises UserError when the model is unknown.
        """
        if name not in self.catalog.skipped or not MODEL_NAME.fullmatch(name):
            self.catalog.entry(name)
        with self._locked(name, no_progress):
            freed = 0
            for directory in (self.root / name, *self._stagings(name)):
                if directory.exists():
                    freed += sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
                    self._discard(directory)
            if self._added(name).exists():
                self._added(name).unlink()
                self.catalog = read_catalog(self.root / "catalog.toml")
        return freed

    def _added(self, name: str) -> Path:
        return self.root / ADDED / f"{name}.toml"

    def _pulled(self, entry: CatalogEntry) -> ModelFiles | None:
        """The model if its manifest matches the catalog and every file has its size."""
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
            engine=entry.engine,
        )

    def _fetch(self, entry: CatalogEntry, progress: Progress) -> None:
        """Complete the staging directory and rename it to the model's."""
        staging = self._staging(entry)
        for stale in self._stagings(entry.name):
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
        """Raise UserError unless the disk has room for the missing files and the largest wheel beside its content."""
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

    def _stagings(self, name: str) -> tuple[Path, ...]:
        return tuple(sorted((self.root / ".staging").glob(f"{name}@*")))

    def _discard(self, directory: Path) -> None:
        """Rename the directory and delete it. What cannot be deleted is left to the next pull or removal."""
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
        """Hold the lock of this model. Errors of the disk inside the block become UserErrors."""
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
    """Compare every file with its published sha256, which takes 0.1 s for 100 MB. Raises UserError if one differs."""
    for role, path in files.files.items():
        if file_digest(path) != files.digests[role]:
            raise UserError(
                f"{path} is damaged: its sha256 is not the published one; run `edge-app models remove "
                f"{files.name}` and then `edge-app models pull {files.name}`."
            )


def _with_memory(entry: CatalogEntry, files: ModelFiles) -> CatalogEntry:
    """The entry of a model that was added, with the memory that it takes in this version of the app."""
    roles = files.files
    with suppress(UserError):  # of damaged files the recorded figure stays
        described = describe_files(files.directory, roles.get(LANGUAGE_MODEL), roles.get(MMPROJ))
        return replace(entry, memory_given=described.memory(precision=entry.precision or "int8"))
    return entry


def _fetch_files(entry: CatalogEntry, staging: Path, progress: Progress) -> None:
    """Fetch the files that the staging folder lacks. progress: bytes of all files together."""
    from models.hub import sources  # imports an HTTP client, which takes half a second; most starts need none

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


def _projector(entry: CatalogEntry) -> Path | None:
    """The projector that config.json of the bundled folder names; None without one."""
    if entry.bundled is None:
        return None
    try:
        name = json.loads((entry.bundled / "config.json").read_bytes()).get("projector")
    except (OSError, ValueError, AttributeError):  # reported by models.model_config when the model is loaded
        return None
    path = entry.bundled / name if isinstance(name, str) and name else None
    return path if path is not None and path.is_file() else None
