"""What a router keeps of each installed adapter: read when it is first seen, again when its file has changed.

Whatever is made of an adapter is made of them alone, so that a new adapter changes nothing that is
kept of another. Knows nothing of how adapters are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from models.core.errors import UserError

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

    def why_nobody(self, installed: Collection[str]) -> str:
        """Why there is nothing to choose from, when `of` found something but nothing for this query, or nothing."""
        if not installed:
            return "no adapter is installed"
        damaged = [str(made) for _, made in self._kept.values() if isinstance(made, UserError)]
        if len(damaged) < len(self._kept):
            return "no adapter: there is no image, and those installed are for images"
        return (
            f"no adapter: {damaged[0] if damaged else 'none of those installed has examples to compare with'}"
        )

    def _read(self, path: Path) -> Made | UserError:
        try:
            return self._make(path)
        except UserError as error:
            return error
