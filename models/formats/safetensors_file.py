"""Reads safetensors files memory-mapped, with bfloat16.

The package `safetensors` writes such files but does not read them here, for three reasons. Its numpy front end has no
bfloat16. It maps the file by itself, whereas an adapter's identity is the digest of the very bytes that its tensors are
read from. It accepts a header with the same name twice. The header is checked before anything is used, and a file that
does not fit is a UserError that names it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import FileError, UserError
from models.core.files import LFS_ADVICE, LFS_POINTER
from models.formats.float_matrix import widen_bfloat16

MAX_HEADER_BYTES = 100_000_000  # the reference implementation's limit

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class StoredTensor:
    """An entry of the header. type: the format's name ("BF16"). start, end: in bytes from the start of the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile:
    """An opened safetensors file. A tensor is read when one of the methods returns it.

    content: the whole file, uint8, mapped read-only. It stays the same when another file takes its path.
    """

    def __init__(self, path: Path) -> None:
        """Read the header. Raises UserError when the file is missing or damaged."""
        self.path = path
        self.content = _map(path)
        header, start = _read_header(path, self.content)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise damaged(path, "its metadata are not text")
        self.metadata: Mapping[str, str] = MappingProxyType(metadata)
        self.tensors: Mapping[str, StoredTensor] = MappingProxyType(
            {name: _stored(path, name, entry, start, len(self.content)) for name, entry in header.items()}
        )

    def array(self, name: str) -> NDArray[Any]:
        """The tensor in its own type and shape, mapped read-only. bfloat16 comes as uint16 bit patterns."""
        tensor = self.tensors[name]
        raw = self.content[tensor.start : tensor.end]
        values: NDArray[Any] = np.frombuffer(raw, np.dtype(_DTYPES[tensor.type])).reshape(tensor.shape)
        return values

    def floats(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A floating-point tensor as a float32 copy. Raises UserError for a tensor of another type.

        rows: those of the first dimension that are read.
        """
        kind = self.tensors[name].type
        if kind not in FLOAT_TYPES:
            raise FileError(self.path, f" stores {name!r} as {kind}; floating-point numbers are needed there")
        values = self.array(name)
        values = values[rows] if values.ndim else values
        return widen_bfloat16(values) if kind == "BF16" else values.astype(np.float32)


def damaged(path: Path, what: str) -> UserError:
    """The error for a file that is not what it should be. what: the reason, as a clause."""
    return FileError(path, f" is not a readable safetensors file: {what}; download it again")


def _map(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, mapped read-only. Raises UserError."""
    try:
        if path.stat().st_size < 8:
            raise damaged(path, "it is shorter than its header")
        return np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise FileError(
            path, f" cannot be read ({error.strerror}); check that it exists and is a file"
        ) from None


def _read_header(path: Path, data: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The header, and the offset of the data in bytes. Raises UserError."""
    if data[: len(LFS_POINTER)].tobytes() == LFS_POINTER:
        raise FileError(path, f" {LFS_ADVICE}")
    size = struct.unpack("<Q", data[:8].tobytes())[0]
    if size > min(len(data) - 8, MAX_HEADER_BYTES):
        raise damaged(path, f"its header claims {size} bytes")
    try:
        header = json.loads(data[8 : 8 + size].tobytes(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    return header, 8 + size


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _stored(path: Path, name: str, entry: Any, start: int, end: int) -> StoredTensor:
    """The checked entry of one tensor. start, end: of the data in the file, in bytes. Raises UserError."""
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(first), int(last)]}:
            pass
        case _:
            raise damaged(path, f"its entry for {name!r} lacks dtype, shape or data_offsets")
    if kind not in _DTYPES:
        raise FileError(path, f" stores {name!r} in the type {kind}, which is not supported")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise damaged(path, f"the shape of {name!r} is {shape}")
    if not 0 <= first <= last <= end - start:
        raise damaged(path, f"{name!r} lies outside of the file")
    if last - first != prod(shape) * np.dtype(_DTYPES[kind]).itemsize:
        raise damaged(path, f"{name!r} has {last - first} bytes, which is not what its shape {shape} needs")
    return StoredTensor(name, kind, tuple(shape), start + first, start + last)
