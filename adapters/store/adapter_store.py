"""The adapters on this machine: a folder each, with the files that adapters.store.manifest allows.

This module only reads. adapters.install.installer changes the folders by renames, so that a reader sees either the old
adapter or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.store.manifest import (
    ALLOWED_FILES,
    CONFIG_FILE,
    MANIFEST_FILE,
    RESERVED,
    AdapterManifest,
    PromptPolicy,
    check_prompt_format,
    is_name,
)
from adapters.store.record import InstallRecord, read_manifest
from models.core.errors import UserError
from models.language.copying.policy import CopyPolicy

if TYPE_CHECKING:
    from models.adapter_weights import AdapterWeights

__all__ = [
    "BUNDLED",
    "RESERVED",
    "AdapterStore",
    "InstalledAdapter",
    "LoadedAdapter",
    "Signature",
    "bundled_folder",
    "bundled_names",
]

BUNDLED = Path(__file__).parents[1] / "bundled"
"""The adapters that come with the app, a folder each."""

STAGING = ".staging"
REPLACED = "old-"
"""Prefix of the folder in STAGING that holds an adapter while a new version takes its place."""

_TRIES = 5  # attempts to read an adapter while another process replaces it

Signature = tuple[tuple[int, int, int], ...]
"""(inode, size, modification time in ns) of each of an adapter's files."""


@dataclass(frozen=True)
class InstalledAdapter:
    """An adapter's folder and what its manifest and record say, without the weights.

    manifest: None for a folder without adapter.toml, or when there is a problem. problem: what is wrong with the
    folder. record: None for a folder that was copied here by hand.
    """

    name: str
    folder: Path
    manifest: AdapterManifest | None
    record: InstallRecord | None = None
    problem: str = ""

    def size(self) -> int:
        """Bytes of its files on the disk."""
        return sum(entry.stat().st_size for entry in os.scandir(self.folder) if entry.is_file())


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter's content. reads, copies: of its manifest. signature: of the files that it was read from; all of them
    are of one version."""

    weights: AdapterWeights
    reads: PromptPolicy
    copies: CopyPolicy | None
    signature: Signature


class AdapterStore:
    """directory: holds one folder an adapter. The methods may be called from any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> tuple[str, ...]:
        """The names of the adapters, sorted. A folder counts if it has adapter_config.json; no file is read."""
        names = set(_folders(self.directory))
        names |= {name.removeprefix(REPLACED) for name in _folders(self.directory / STAGING)}
        names |= set(_folders(self.directory))  # an adapter may have moved back between the two listings
        return tuple(sorted(name for name in names if self._find(name) is not None))

    def get(self, name: str) -> InstalledAdapter:
        """An adapter's manifest and record, without its weights. Raises UserError when there is no such adapter."""
        for attempt in range(_TRIES):
            before = self._stamp(name) if attempt else None  # the first attempt skips the check for changes
            folder = before[0] if before else self.folder(name)
            try:
                found = InstalledAdapter(name, folder, *read_manifest(folder))
            except UserError as error:
                found = InstalledAdapter(name, folder, None, problem=str(error))
            if found.manifest is not None or (before and self._stamp(name) == before):
                break
        return found

    def all(self) -> Iterator[InstalledAdapter]:
        """Every adapter, by name; one that is removed meanwhile is left out."""
        for name in self.names():
            try:
                yield self.get(name)
            except UserError:
                continue

    def load(self, name: str) -> LoadedAdapter:
        """An adapter's tensors and prompt policy. Raises UserError when it is missing, damaged or not supported."""
        for _ in range(_TRIES):
            before, problem, loaded = self._stamp(name), None, None
            try:
                loaded = _read_folder(*before, name)
            except UserError as error:
                problem = error
            if self._stamp(name) != before:
                continue
            if loaded is None:
                assert problem is not None
                raise problem
            return loaded
        raise UserError(f"The adapter {name} keeps changing while it is read; try again.")

    def signature(self, name: str) -> Signature:
        """The state of an adapter's files, which changes when one is written. Raises UserError for an unknown name."""
        return self._stamp(name)[1]

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def folder(self, name: str) -> Path:
        """The folder that has an adapter's files now. Raises UserError when there is no such adapter."""
        folder = self._find(name)
        if folder is None:
            raise UserError(
                f"There is no adapter {name!r} in {self.directory}; `edge-app adapters list` shows those there are."
            )
        return folder

    def _stamp(self, name: str) -> tuple[Path, Signature]:
        """An adapter's folder and the signature of its files.

        If it is the same before and after a read, the read saw one version.
        """
        folder = self.folder(name)
        stats = []
        for file in ALLOWED_FILES:
            try:
                stats.append((folder / file).stat())
            except FileNotFoundError:
                continue
        return folder, tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)

    def _find(self, name: str) -> Path | None:
        """The folder of an adapter; None without one.

        While a new version takes its place, the adapter is in STAGING. Its own folder is checked again after that,
        because the new version may have arrived in between.
        """
        place = self.directory / name
        if is_name(name):
            for folder in (place, self.directory / STAGING / f"{REPLACED}{name}", place):
                if (folder / CONFIG_FILE).is_file():
                    return folder
        return None


def _read_folder(folder: Path, signature: Signature, name: str) -> LoadedAdapter:
    from models.adapter_weights import read_adapter  # imports numpy, which names and manifests do without

    weights = read_adapter(folder, name)
    return LoadedAdapter(weights, *read_policies(folder), signature)


def read_policies(folder: Path) -> tuple[PromptPolicy, CopyPolicy | None]:
    """The prompt policy of the adapter in a folder, and how it copies (AdapterManifest.copies).

    Raises UserError when its manifest is damaged, or its prompts cannot be made by this version of the app.
    """
    manifest, _ = read_manifest(folder)
    if manifest is None:
        return PromptPolicy(), None
    check_prompt_format(manifest)
    return manifest.reads, manifest.copies


def _folders(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(directory) if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def bundled_folder(name: str) -> Path:
    """The folder of the adapter that comes with the app under this name."""
    return BUNDLED / name


def bundled_names() -> tuple[str, ...]:
    """The adapters that come with the app, sorted."""
    if not BUNDLED.is_dir():
        return ()
    return tuple(sorted(f.name for f in BUNDLED.iterdir() if (f / MANIFEST_FILE).is_file()))
