"""Matrices of floating-point numbers, kept in the narrowest type that holds what a model's files say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError

FloatType = Literal["bf16", "f16", "f32"]

FLOAT_BITS: dict[FloatType, Literal[16, 32]] = {"bf16": 16, "f16": 16, "f32": 32}
_STORED: dict[str, FloatType] = {"BF16": "bf16", "bfloat16": "bf16", "F16": "f16", "float16": "f16"}


def float_type(stored: str) -> FloatType:
    """The type that holds values of a stored type. stored: its name in the files, such as "BF16".

    A scale times a code of a quantised type needs up to 19 bits, hence float32.
    """
    return _STORED.get(stored, "f32")


def widen_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 bit patterns as float32. Exact, since bfloat16 is the upper half of float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def common_type(types: Iterable[FloatType]) -> FloatType:
    """The type that holds the values of all these types."""
    distinct = set(types)
    return distinct.pop() if len(distinct) == 1 else "f32"


@dataclass(frozen=True)
class FloatMatrix:
    """A weight matrix. type: holds every value exactly. values: float32 [out, inputs]."""

    type: FloatType
    values: NDArray[np.float32]

    @property
    def bits(self) -> Literal[16, 32]:
        """Bits of a stored weight."""
        return FLOAT_BITS[self.type]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, inputs)."""
        rows, inputs = self.values.shape
        return rows, inputs

    def dequantise(self) -> NDArray[np.float32]:
        """The values, as QuantizedMatrix.dequantise gives them."""
        return self.values

    def blocks(self, rows: int) -> NDArray[np.uint8]:
        """The bytes of blocks of output rows, [out / rows, inputs, rows] numbers of the type.

        Rows are padded with zeros to a multiple of `rows`. Raises UserError for values that are not finite.
        """
        if not np.isfinite(self.values).all():
            raise UserError("a weight matrix holds infinite or undefined numbers; the file is damaged")
        padded = np.pad(self.values, ((0, -len(self.values) % rows), (0, 0)))
        by_block = padded.reshape(-1, rows, padded.shape[1]).transpose(0, 2, 1)
        narrow: NDArray[Any] = np.ascontiguousarray(by_block)
        if self.type == "bf16":
            narrow = (narrow.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        elif self.type == "f16":
            narrow = narrow.astype(np.float16)
        return narrow.reshape(len(narrow), -1).view(np.uint8)


def from_blocks(kind: FloatType, blocks: NDArray[np.uint8], rows: int, inputs: int) -> FloatMatrix:
    """The inverse of FloatMatrix.blocks, with its rows of padding. blocks: of any shape."""
    raw = np.ascontiguousarray(blocks).reshape(-1)
    if kind == "bf16":
        values = widen_bfloat16(raw.view(np.uint16))
    else:
        values = raw.view(np.float16 if kind == "f16" else np.float32).astype(np.float32)
    by_block = values.reshape(-1, inputs, rows).transpose(0, 2, 1)
    return FloatMatrix(kind, by_block.reshape(-1, inputs))
