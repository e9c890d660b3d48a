"""Reads GGUF files (versions 2 and 3, little-endian): metadata, and memory-mapped tensors.

Follows the format's specification (docs/gguf.md in the ggml repository). Every number in the file is checked before it
is used, and a file that does not fit is a UserError that names it.

The package `gguf` is not used: opening the default model's file takes it 2.4 s (0.06 s here), because it makes several
numpy arrays for each of the vocabulary's strings, and a file whose array claims 2**40 elements makes it run for ever.
The tests compare this reader with it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import LFS_ADVICE, LFS_POINTER
from models.formats.float_matrix import widen_bfloat16
from models.formats.gguf.gguf_types import ARRAY, BLOCKS, BOOL, STRING, TENSOR_TYPES

MAGIC = b"GGUF"
MAX_NAME_BYTES = 65535  # the specification's limit for keys; it allows tensors' names 64 bytes
MAX_DIMENSIONS = 4
MAX_NESTING = 4
DEFAULT_ALIGNMENT = 32

# A metadata value. An array of numbers is a numpy array, every other array a list.
Value = str | int | float | bool | NDArray[np.generic] | list["Value"]

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_DTYPES = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}


@dataclass(frozen=True)
class TensorInfo:
    """An entry of the table of tensors.

    shape: outermost dimension first, as in numpy. type: "F32", "Q4_1" and so on. offset: from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    nbytes: int


class GgufFile:
    """An opened GGUF file. A tensor is read from the mapped file when one of the methods returns it."""

    def __init__(self, path: Path) -> None:
        """Read the header. Raises UserError when the file is missing, damaged or not supported."""
        self.path = path
        reader = _GgufCursor(path, _map(path))
        self._data = reader.data
        self.version, tensor_count, value_count = _read_counts(reader)
        self.metadata: Mapping[str, Value] = MappingProxyType(_read_metadata(reader, value_count))
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            _read_tensor_infos(reader, tensor_count, self._alignment(reader))
        )

    def blocks(self, name: str) -> NDArray[np.uint8]:
        """The tensor's bytes, uint8 [rows, bytes per row], mapped read-only. A row is the last dimension."""
        info = self.tensors[name]
        rows = prod(info.shape[:-1])
        return self._data[info.offset : info.offset + info.nbytes].reshape(rows, -1)

    def floats(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A tensor of type F32, F16 or BF16 as float32 in its shape. Raises KeyError for any other type.

        rows: the rows of a matrix that are read.
        """
        info = self.tensors[name]
        values = _FLOAT_DECODERS[info.type](self.blocks(name)[rows])
        return values.reshape(-1, *info.shape[1:]) if len(info.shape) > 1 else values[0]

    def _alignment(self, reader: _GgufCursor) -> int:
        alignment = self.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment % 8:
            raise reader.damaged(f"general.alignment is {alignment!r}, not a positive multiple of 8")
        return alignment


class _GgufCursor:
    """A position in the mapped file. Every read is checked against the file's end."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path = path
        self.data = data
        self.view = memoryview(data)  # type: ignore[arg-type]  # numpy arrays are buffers
        self.position = 0

    def damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is not a readable GGUF file: {what}; download it again")

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, size: int, what: str) -> int:
        """Move past size bytes and return their start. Raises UserError when the file is shorter."""
        if size > self.left:
            raise self.damaged(f"it ends inside {what}")
        start = self.position
        self.position += size
        return start

    def number(self, layout: str, what: str) -> int | float:
        """A number in the format of the struct module. what: names it in errors."""
        value: int | float = struct.unpack_from(layout, self.view, self.take(struct.calcsize(layout), what))[
            0
        ]
        return value

    def count(self, layout: str, what: str) -> int:
        """A whole number in the format of the struct module."""
        return int(self.number(layout, what))

    def string(self, what: str, limit: int | None = None) -> str:
        """A string with its length before it. limit: most bytes."""
        size = self.count("<Q", what)
        if limit is not None and size > limit:
            raise self.damaged(f"{what} is {size} bytes long")
        start = self.take(size, what)
        try:
            return str(self.view[start : start + size], "utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8") from None

    def strings(self, count: int, what: str) -> list[str]:
        """count strings in a row. A vocabulary has 100,000 of them, so that all are decoded in one call."""
        read_size = struct.Struct("<Q").unpack_from
        view, position, end = self.view, self.position, len(self.data)
        if count * 8 > end - position:
            raise self.damaged(f"it ends inside {what}")
        pieces = []
        for _ in range(count):
            start = position + 8
            if start > end or (position := start + read_size(view, position)[0]) > end:
                raise self.damaged(f"it ends inside {what}")
            pieces.append(view[start:position])
        self.position = position
        try:
            # In UTF-8 a NUL byte is part of no other character.
            texts = str(b"\0".join(pieces), "utf-8").split("\0")
            if len(texts) != count:  # count is 0, or a string has a NUL in it
                texts = [str(piece, "utf-8") for piece in pieces]
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8") from None
        return texts

    def value(self, kind: int, what: str, depth: int = 0) -> Value:
        """A metadata value of the type number `kind`. depth: of nesting in arrays."""
        if kind == STRING:
            return self.string(what)
        if kind == ARRAY:
            return self.array(what, depth)
        if kind == BOOL:
            return self.boolean(what)
        if kind in _SCALARS:
            return self.number(_SCALARS[kind], what)
        raise self.damaged(f"{what} has the unknown type {kind}")

    def boolean(self, what: str) -> bool:
        """A byte that is 0 or 1."""
        value = self.count("<B", what)
        if value > 1:
            raise self.damaged(f"{what} is a truth value of {value}")
        return bool(value)

    def array(self, what: str, depth: int) -> Value:
        """An array of metadata values, with its element type and length before it."""
        if depth == MAX_NESTING:
            raise self.damaged(f"{what} is nested more than {MAX_NESTING} deep")
        kind = self.count("<I", what)
        count = self.count("<Q", what)
        if kind in _DTYPES:
            dtype = np.dtype(_DTYPES[kind])
            start = self.take(count * dtype.itemsize, what)
            return np.frombuffer(self.view, dtype, count, start).copy()
        if kind == STRING:
            return list(self.strings(count, what))
        smallest = {BOOL: 1, ARRAY: 12}.get(kind)
        if smallest is None:
            raise self.damaged(f"{what} has elements of the unknown type {kind}")
        if count * smallest > self.left:
            raise self.damaged(f"it ends inside {what}")
        return [self.value(kind, what, depth + 1) for _ in range(count)]


def _map(path: Path) -> NDArray[np.uint8]:
    """The file's bytes, mapped read-only. Raises UserError."""
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty; download it again")
        return np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check that it exists and is a file"
        ) from None


def _read_counts(reader: _GgufCursor) -> tuple[int, int, int]:
    """The version, and the numbers of tensors and of metadata values."""
    start = reader.take(4, "its first four bytes")
    if bytes(reader.view[: len(LFS_POINTER)]) == LFS_POINTER:
        raise UserError(f"{reader.path} {LFS_ADVICE}")
    if bytes(reader.view[start : start + 4]) != MAGIC:
        raise reader.damaged("it does not start with GGUF")
    version = reader.count("<I", "the version")
    if version not in (2, 3):
        raise UserError(
            f"{reader.path} has GGUF version {version}; versions 2 and 3, little-endian, are supported"
        )
    tensor_count = reader.count("<Q", "the number of tensors")
    value_count = reader.count("<Q", "the number of metadata values")
    if tensor_count * 24 + value_count * 13 > reader.left:  # their least possible sizes
        raise reader.damaged(f"it is too short for {tensor_count} tensors and {value_count} metadata values")
    return version, tensor_count, value_count


def _read_metadata(reader: _GgufCursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    for _ in range(count):
        key = reader.string("a metadata key", MAX_NAME_BYTES)
        if key in metadata:
            raise reader.damaged(f"the metadata key {key!r} occurs twice")
        metadata[key] = reader.value(reader.count("<I", key), key)
    return metadata


def _read_tensor_infos(reader: _GgufCursor, count: int, alignment: int) -> dict[str, TensorInfo]:
    """The table of tensors, with offsets from the start of the file."""
    infos: dict[str, TensorInfo] = {}
    for _ in range(count):
        info = _read_tensor_info(reader, alignment)
        if info.name in infos:
            raise reader.damaged(f"the tensor {info.name!r} occurs twice")
        infos[info.name] = info
    start = -(-reader.position // alignment) * alignment
    placed = {
        name: TensorInfo(name, info.shape, info.type, start + info.offset, info.nbytes)
        for name, info in infos.items()
    }
    for info in placed.values():
        if info.offset + info.nbytes > len(reader.data):
            raise reader.damaged(f"it ends inside the tensor {info.name!r}")
    return placed


def _read_tensor_info(reader: _GgufCursor, alignment: int) -> TensorInfo:
    """One entry of the table, with its offset from the start of the tensor data."""
    name = reader.string("a tensor's name", MAX_NAME_BYTES)
    what = f"the tensor {name!r}"
    dimensions = reader.count("<I", what)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise reader.damaged(f"{what} has {dimensions} dimensions")
    shape = tuple(reader.count("<Q", what) for _ in range(dimensions))[::-1]
    number = reader.count("<I", what)
    kind = TENSOR_TYPES.get(number, f"number {number}")
    if kind not in BLOCKS:
        supported = ", ".join(BLOCKS)
        raise UserError(
            f"{reader.path} stores {what} in the type {kind}, which is not supported ({supported} are)"
        )
    offset = reader.count("<Q", what)
    if offset % alignment:
        raise reader.damaged(f"{what} starts at {offset}, which is no multiple of {alignment}")
    per_block, block_bytes = BLOCKS[kind]
    if 0 in shape or shape[-1] % per_block:
        raise reader.damaged(f"{what} has the impossible shape {list(shape)}")
    return TensorInfo(name, shape, kind, offset, prod(shape) // per_block * block_bytes)


def _read_f32(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(blocks).view("<f4").astype(np.float32)


def _read_f16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(blocks).view("<f2").astype(np.float32)


def _read_bf16(blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    return widen_bfloat16(np.ascontiguousarray(blocks).view("<u2"))


_FLOAT_DECODERS = {"F32": _read_f32, "F16": _read_f16, "BF16": _read_bf16}
