"""Cache of a GGUF file's metadata in a form that is read in a few milliseconds.

A file is one header page with a checksum, then JSON. It is found by the sha256 of the weights. A file that is damaged
or of another version counts as missing, and the metadata are then read from the GGUF file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models.core.cache import mark_used, packed_name
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.packed_file import PAGE, header_page, read_header
from models.formats.gguf.gguf_file import GgufFile, Value

VERSION = 1
_MAGIC = b"EDGEMETA"


@dataclass(frozen=True)
class GgufMetadata:
    """The metadata of a GGUF file. path: of that file, for messages."""

    path: Path
    metadata: Mapping[str, Value]


def load_or_read_metadata(weights: Path, digest: str, folder: Path) -> GgufMetadata:
    """The metadata of the weights with this sha256 (hex), from the cache or from their file.

    folder: of the cache. Errors of the disk in writing there are ignored. Raises UserError when the weights are not
    a readable GGUF file.
    """
    path = folder / f"{packed_name(digest)}-metadata-v{VERSION}.json"
    metadata = open_metadata(path, digest)
    if metadata is None:
        metadata = GgufFile(weights).metadata
        with suppress(OSError, UserError):
            write_whole(path, _content(metadata, digest))
    else:
        mark_used(path)
    return GgufMetadata(weights, metadata)


def open_metadata(path: Path, digest: str) -> Mapping[str, Value] | None:
    """The metadata in a file of the cache; None when it is missing, damaged or of other weights."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    header, text = read_header(_MAGIC, content[:PAGE]), memoryview(content)[PAGE:]
    if header is None or header["digest"] != digest or zlib.crc32(text) != header["check"]:
        return None
    values: dict[str, Any] = json.loads(str(text, "utf-8"))
    return MappingProxyType({name: _value(value) for name, value in values.items()})


def _content(metadata: Mapping[str, Value], digest: str) -> bytes:
    text = json.dumps(dict(metadata), default=_plain).encode()
    return header_page(_MAGIC, {"digest": digest, "check": zlib.crc32(text)}) + text


def _plain(array: object) -> dict[str, str]:
    assert isinstance(array, np.ndarray), "the only values of GGUF that JSON lacks"
    return {"dtype": array.dtype.str, "bytes": array.tobytes().hex()}


def _value(value: Any) -> Value:
    """The inverse of _plain. GGUF has no objects, so that an object in the JSON is an array of numbers."""
    if isinstance(value, dict):
        return np.frombuffer(bytes.fromhex(value["bytes"]), value["dtype"]).copy()
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [_value(each) for each in value]
    return value  # type: ignore[no-any-return]  # a number, a boolean, a string, or a list of strings
