"""Writes GGUF files (version 3): metadata, and tensors that are made one at a time.

Follows the format's specification (docs/gguf.md in the ggml repository).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.core.files import replacing
from models.formats.gguf.gguf_types import (
    ARRAY,
    BLOCKS,
    BOOL,
    FLOAT32,
    INT32,
    STRING,
    TENSOR_TYPE_NUMBERS,
    UINT32,
)

ALIGNMENT = 32

Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor of a file to be written.

    shape: outermost dimension first, as in numpy. type: a key of gguf_types.BLOCKS. make: returns its bytes, uint8 of
    any shape.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    make: Callable[[], NDArray[np.uint8]]

    @property
    def nbytes(self) -> int:
        elements, size = BLOCKS[self.type]
        return prod(self.shape) // elements * size


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Sequence[TensorToWrite]) -> None:
    """Write a file under a temporary name and rename it. One tensor is in memory at a time. Raises OSError."""
    header = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        header += _text(key) + _value(value)
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]  # innermost first
        header += _text(tensor.name) + struct.pack("<I", len(dimensions))
        header += struct.pack(f"<{len(dimensions)}Q", *dimensions)
        header += struct.pack("<IQ", TENSOR_TYPE_NUMBERS[tensor.type], offset)
        offset += tensor.nbytes + -tensor.nbytes % ALIGNMENT
    with replacing(path) as file:
        file.write(header + bytes(-len(header) % ALIGNMENT))
        for tensor in tensors:
            data = tensor.make()
            if data.nbytes != tensor.nbytes:
                raise ValueError(f"{tensor.name} has {data.nbytes} bytes instead of {tensor.nbytes}")
            file.write(np.ascontiguousarray(data).tobytes() + bytes(-tensor.nbytes % ALIGNMENT))


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Value) -> bytes:
    """A metadata value with its type before it. Whole numbers become uint32, those of arrays int32."""
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(_text(str(each)) for each in value)
    kind, letter = (FLOAT32, "f") if isinstance(value[0], float) else (INT32, "i")
    return struct.pack(f"<IIQ{len(value)}{letter}", ARRAY, kind, len(value), *value)
