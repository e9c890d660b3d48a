"""A GGUF file's metadata, kept in a form that is read quickly: a vocabulary is a hundred thousand strings.

A page of header with a checksum, then JSON. It is found by the weights' sha256; what does not fit in every
respect is not there and is read from the GGUF file again. Knows nothing of what the values mean.
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

from models.core.cache import PAGE, header_page, mark_used, packed_name, read_header
from models.core.errors import UserError
from models.core.files import write_whole
from models.formats.gguf import GgufFile, Value

VERSION = 1
_MAGIC = b"EDGEMETA"


@dataclass(frozen=True)
class GgufMetadata:
    """What a GGUF file says of itself. path: of that file, for messages."""

    path: Path
    metadata: Mapping[str, Value]


def load_or_read_metadata(weights: Path, digest: str, folder: Path) -> GgufMetadata:
    """Of the weights with this sha256, from the folder or from their file, which then leaves a copy there.

    Raises UserError when the weights are no readable GGUF file. A disk that refuses the copy costs the next
    start its time, not the answer.
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
    """None when the file is missing, damaged, or of other weights or another version."""
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
    assert isinstance(array, np.ndarray), "GGUF has nothing else that JSON has not"
    return {"dtype": array.dtype.str, "bytes": array.tobytes().hex()}


def _value(value: Any) -> Value:
    """GGUF knows no objects: what JSON has as one is an array of numbers."""
    if isinstance(value, dict):
        return np.frombuffer(bytes.fromhex(value["bytes"]), value["dtype"]).copy()
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [_value(each) for each in value]
    return value  # type: ignore[no-any-return]  # a number, a truth value, a string, or many of them
