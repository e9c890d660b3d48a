"""Writes small GGUF files for tests, byte by byte after the specification, independently of the reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14,
    "BF16": 30,
}  # fmt: skip
_ARRAY_TYPES = {"u1": 0, "i1": 1, "u2": 2, "i2": 3, "u4": 4, "i4": 5, "f4": 6, "u8": 10, "i8": 11, "f8": 12}

# name -> (type's name or number, shape as in numpy, bytes)
Tensors = Mapping[str, tuple[str | int, tuple[int, ...], bytes]]


def gguf_bytes(metadata: Mapping[str, Any], tensors: Tensors, version: int = 3, alignment: int = 32) -> bytes:
    """A whole file. Integers are written as uint32, floats as float32."""
    table, data = b"", b""
    for name, (kind, shape, content) in tensors.items():
        data += b"\0" * (-len(data) % alignment)
        number = TYPES[kind] if isinstance(kind, str) else kind
        table += string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        table += struct.pack("<IQ", number, len(data))
        data += content
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(string(key) + value(content) for key, content in metadata.items()) + table
    return head + b"\0" * (-len(head) % alignment) + data


def write_gguf(path: Path, metadata: Mapping[str, Any], tensors: Tensors) -> Path:
    path.write_bytes(gguf_bytes(metadata, tensors))
    return path


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def value(content: Any) -> bytes:
    """Type number and value."""
    number, payload = _typed(content)
    return struct.pack("<I", number) + payload


def _typed(content: Any) -> tuple[int, bytes]:
    match content:
        case bool():
            return 7, struct.pack("<?", content)
        case int():
            return 4, struct.pack("<I", content)
        case float():
            return 6, struct.pack("<f", content)
        case str():
            return 8, string(content)
        case np.ndarray():
            kind = _ARRAY_TYPES[content.dtype.str[1:]]
            return 9, struct.pack("<IQ", kind, len(content)) + content.tobytes()
        case list():
            elements = [_typed(element) for element in content]
            kind = elements[0][0] if elements else 8
            return 9, struct.pack("<IQ", kind, len(content)) + b"".join(payload for _, payload in elements)
    raise TypeError(type(content))


def float_tensor(values: NDArray[np.float32], kind: str) -> tuple[str, tuple[int, ...], bytes]:
    """A tensor as F32, F16 or BF16. BF16 is truncated, so use values whose lower 16 bits are zero."""
    if kind == "BF16":
        content = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        content = values.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
    return kind, values.shape, content
