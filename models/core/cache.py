"""Files of the cache: their names, their header pages, and the removal of unused ones.

Everything in the cache can be made again, so removing a file costs time alone. Lock files are
left: they are empty, and to remove one while another process waits for it would let two processes in.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

PACKED = "packed"
COMPILED = "compiled"
TASKS = "tasks"
IMAGES = "images"
UNUSED_DAYS = 60.0
PAGE = 4096  # bytes of a header page
_DAY = 86400.0  # seconds
_DIGEST_BYTES = 32
CHECK_BLOCK = 1 << 22  # bytes read at once


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


def header_page(magic: bytes, header: Mapping[str, Any]) -> bytes:
    """The first page of a file that is mapped into memory; what follows is page-aligned.

    The magic word, the header's length (uint32, little-endian), its sha256, and the header as JSON, padded with
    zeros to PAGE bytes. Raises ValueError when the header does not fit.
    """
    text = json.dumps(header).encode()
    content = magic + len(text).to_bytes(4, "little") + hashlib.sha256(text).digest() + text
    if len(content) > PAGE:
        raise ValueError("the header of a packed file must fit one page")
    return content.ljust(PAGE, b"\0")


def read_header(magic: bytes, page: bytes) -> dict[str, Any] | None:
    """The header in the first page of a file; None when the page is damaged or has another magic word."""
    start = len(magic) + 4 + _DIGEST_BYTES
    if len(page) < start or not page.startswith(magic):
        return None
    text = page[start : start + int.from_bytes(page[len(magic) : len(magic) + 4], "little")]
    if hashlib.sha256(text).digest() != page[len(magic) + 4 : start]:
        return None
    header: dict[str, Any] = json.loads(text)
    return header


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


def lay_out(sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Section -> (offset in the file, bytes), each section at a multiple of PAGE, behind the header page."""
    plan, offset = {}, PAGE
    for name, size in sizes.items():
        plan[name] = (offset, size)
        offset += -(-size // PAGE) * PAGE
    return plan


def end_of(plan: Mapping[str, tuple[int, int]]) -> int:
    """The length in bytes of a file with this layout."""
    offset, size = list(plan.values())[-1]
    return offset + size


def content_check(file: BinaryIO) -> int:
    """CRC-32 of everything after the header page."""
    file.seek(PAGE)
    check = 0
    while block := file.read(CHECK_BLOCK):
        check = zlib.crc32(block, check)
    return check
