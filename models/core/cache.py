"""Keeps the cache from growing for ever: what a model's removal frees, and what nobody has used for long.

Everything in the cache can be made again, so that removing too much costs time and never an answer. Lock
files are left: they are empty, and to remove one while another process waits for it would let two in. Knows
the places and names of packed weights and compiled code, not what is in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKED = "packed"
COMPILED = "compiled"
UNUSED_DAYS = 60.0
_DAY = 86400.0


def packed_name(digest: str) -> str:
    """How the names of the packed files of the weights with this sha256 begin."""
    return digest[:32]


def mark_used(file: Path) -> None:
    """Remember, to the day, that the file was of use. A cache that cannot be written is used all the same."""
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > _DAY:
            file.touch()


def remove_packed(cache_dir: Path, digest: str) -> int:
    """Remove what was packed from the weights with this sha256; returns the bytes that were freed."""
    return _remove((cache_dir / PACKED).glob(f"{packed_name(digest)}-*"))


def remove_unused(cache_dir: Path, days: float = UNUSED_DAYS) -> int:
    """Remove what has not been of use for so many days: other versions, other models, unfinished files.

    Returns the bytes that were freed. Who has a file open keeps it.
    """
    before = time.time() - days * _DAY
    return _remove(
        file
        for folder in (PACKED, COMPILED)
        for file in (cache_dir / folder).glob("*")
        if _modified(file) < before
    )


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # another process was faster
        return time.time()


def _remove(files: Iterable[Path]) -> int:
    """A file that cannot be removed (open, on some systems) is left to a later time."""
    freed = 0
    for file in list(files):
        if file.suffix != ".lock" and file.is_file():
            with suppress(OSError):
                size = file.stat().st_size
                file.unlink()
                freed += size
    return freed
