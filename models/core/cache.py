"""Files of the cache: their names, and the removal of unused ones.

Everything in the cache can be made again, so removing a file costs time alone. Lock files are left: they are empty, and
to remove one while another process waits for it would let two processes in.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PACKED = "packed"
COMPILED = "compiled"
TASKS = "tasks"
IMAGES = "images"
UNUSED_DAYS = 60.0
_DAY = 86400.0  # seconds


def packed_name(digest: str) -> str:
    """The beginning of the names of files that are made from the weights with this sha256 (hex)."""
    return digest[:32]


def mark_used(file: Path) -> None:
    """Record the day on which the file was used. Does nothing when the cache cannot be written."""
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > _DAY:
            file.touch()


def remove_packed(cache_dir: Path, digest: str) -> int:
    """Remove what was made from the weights with this sha256; returns the bytes that were freed."""
    return _remove(
        file for folder in (PACKED, IMAGES) for file in (cache_dir / folder).glob(f"{packed_name(digest)}-*")
    )


def remove_other_versions(file: Path) -> int:
    """Remove what other versions of the app made of the same weights: files whose name differs in the -vN alone.

    Returns the bytes that were freed.
    """
    version = re.compile(r"-v\d+(?=\.)")
    mine = version.sub("", file.name)
    begin = version.split(file.name)[0]
    return _remove(
        other
        for other in file.parent.glob(f"{begin}-v*{file.suffix}")
        if other != file and version.sub("", other.name) == mine
    )


def remove_unused(cache_dir: Path, days: float = UNUSED_DAYS) -> int:
    """Remove files that were not used for this many days: other versions, other models, unfinished files.

    Returns the bytes that were freed. A process that has a file open keeps it.
    """
    before = time.time() - days * _DAY
    return _remove(
        file
        for folder in (PACKED, COMPILED, TASKS, IMAGES)
        for file in (cache_dir / folder).glob("*")
        if _modified(file) < before
    )


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # another process has removed it
        return time.time()


def _remove(files: Iterable[Path]) -> int:
    """Remove files and return their bytes. A file that cannot be removed, for example an open one, is left."""
    freed = 0
    for file in list(files):
        if file.suffix != ".lock" and file.is_file():
            with suppress(OSError):
                size = file.stat().st_size
                file.unlink()
                freed += size
    return freed
