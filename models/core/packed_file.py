"""Packed files: what is made of a model's weights once, and then mapped into memory.

A packed file is a header page, followed by sections of numbers, each at a multiple of PAGE. A file that does not match
in every respect is made again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from models.core.cache import mark_used, remove_other_versions
from models.core.errors import UserError
from models.core.files import alone, written_to

PAGE = 4096  # bytes of a header page
CHECK_BLOCK = 1 << 22  # bytes read at once
_DIGEST_BYTES = 32

Packed = TypeVar("Packed")


def read_or_make(
    path: Path,
    read: Callable[[], Packed | None],
    make: Callable[[], None],
    waiting: Callable[[], None],
) -> Packed:
    """What a packed file holds; the file is made when it is missing or damaged, by one process at a time.

    read: opens the file; None when there is none that can be used. make: writes it. waiting: see
    models.core.files.alone. Raises UserError when the disk refuses the file or does not keep it, and what make raises.
    """
    with written_to(path.parent, "make room there, or set EDGE_APP_HOME to another disk"):
        packed = read()
        if packed is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with alone(path.with_suffix(".lock"), waiting):
                packed = read()
                if packed is None:
                    packed = _made(path, read, make)
    mark_used(path)
    remove_other_versions(path)
    return packed


def _made(path: Path, read: Callable[[], Packed | None], make: Callable[[], None]) -> Packed:
    """Make the file. The caller holds the lock, so unfinished files were left by processes that ended early."""
    for unfinished in path.parent.glob(f"{path.name}?*"):
        unfinished.unlink(missing_ok=True)
    make()
    packed = read()
    if packed is None:
        raise UserError(
            f"{path} does not read back as it was written: the disk is damaged; "
            "set EDGE_APP_HOME to another disk."
        )
    return packed


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
