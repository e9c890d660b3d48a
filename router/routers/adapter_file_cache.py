"""Keeps what a router computes from one file of each installed adapter, and computes it again when the file changes.

Each value is made from one adapter's file alone, so that installing an adapter changes no other adapter's value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from models.core.errors import UserError
from router.choice import Choice
from router.types import Reason

Made = TypeVar("Made")
Stamp = tuple[int, int, int]
"""Inode, size and modification time (ns) of a file."""


class AdapterFileCache(Generic[Made]):
    """Values computed from one file of each adapter.

    directory: the folder of the adapters. file: name of the file in each adapter's folder. make: computes the value
    from the file's path; may raise UserError.
    """

    def __init__(self, directory: Path, file: str, make: Callable[[Path], Made]) -> None:
        self._directory = directory
        self._file = file
        self._make = make
        self._kept: dict[str, tuple[Stamp, Made | UserError]] = {}

    def of(self, installed: Collection[str]) -> Mapping[str, Made]:
        """The values of these adapters, by name. Adapters without the file, or with a damaged one, are left out."""
        current: dict[str, tuple[Stamp, Made | UserError]] = {}
        for name in installed:
            path = self._directory / name / self._file
            try:
                status = path.stat()
            except OSError:
                continue  # the adapter has no such file, or is being removed
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            before = self._kept.get(name)
            current[name] = before if before and before[0] == stamp else (stamp, self._read(path))
        self._kept = current
        return {name: made for name, (_, made) in current.items() if not isinstance(made, UserError)}

    def no_candidate(self, installed: Collection[str]) -> Choice:
        """The choice when `of` gave nothing that can be compared with the query."""
        return Choice(None, 1.0, self._why_no_candidate(installed))

    def _why_no_candidate(self, installed: Collection[str]) -> Reason:
        if not installed:
            return Reason("no_adapter_installed")
        damaged = [str(made) for _, made in self._kept.values() if isinstance(made, UserError)]
        if len(damaged) < len(self._kept):
            return Reason("adapters_need_image")
        if damaged:
            return Reason("adapters_unreadable", {"message": damaged[0]})
        return Reason("adapters_without_examples")

    def _read(self, path: Path) -> Made | UserError:
        try:
            return self._make(path)
        except UserError as error:
            return error
