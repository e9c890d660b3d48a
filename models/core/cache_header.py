"""The first page of a file that is mapped into memory: what the file holds, told so that damage is noticed.

A magic word, the header's length, its sha256, and the header itself as JSON, padded to a page. Knows nothing
of what follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

PAGE = 4096

_DIGEST_BYTES = 32


def header_page(magic: bytes, header: Mapping[str, Any]) -> bytes:
    """PAGE bytes. ValueError when the header does not fit."""
    text = json.dumps(header).encode()
    content = magic + len(text).to_bytes(4, "little") + hashlib.sha256(text).digest() + text
    if len(content) > PAGE:
        raise ValueError("the header of a packed file must fit one page")
    return content.ljust(PAGE, b"\0")


def read_header(magic: bytes, page: bytes) -> dict[str, Any] | None:
    """The header of a file that begins with this page; None when it has none, another one, or it is damaged."""
    start = len(magic) + 4 + _DIGEST_BYTES
    if len(page) < start or not page.startswith(magic):
        return None
    text = page[start : start + int.from_bytes(page[len(magic) : len(magic) + 4], "little")]
    if hashlib.sha256(text).digest() != page[len(magic) + 4 : start]:
        return None
    header: dict[str, Any] = json.loads(text)
    return header
