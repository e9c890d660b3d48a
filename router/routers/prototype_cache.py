"""What a router keeps of each installed adapter: read when it is first seen, again when its file has changed.

Whatever is made of an adapter is made of them alone, so that a new adapter changes nothing that is
kept of another. Knows nothing of how adapters are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from models.core.errors import UserError
from router.choice import Choice
from router.reason import Reason

Made = TypeVar("Made")
Stamp = tuple[int, int, int]


class Registry(Generic[Made]):
    """directory: where the adapters are. file: of each adapter, that this is about. make: reads it; may raise
    UserError."""

    def __init__(self, directory: Path, file: str, make: Callable[[Path], Made]) -> None:
        self._directory = directory
        self._file = file
        self._make = make
        self._kept: dict[str, tuple[Stamp, Made | UserError]] = {}

    def of(self, installed: Collection[str]) -> Mapping[str, Made]:
        """What is known of these adapters, as their files are now; those without a good file are left out."""
        current: dict[str, tuple[Stamp, Made | UserError]] = {}
        for name in installed:
            path = self._directory / name / self._file
            try:
                status = path.stat()
            except OSError:
                continue  # it has none, or is being removed
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
