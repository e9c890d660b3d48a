"""Matrices of 4- or 8-bit codes in groups of 32 along the input dimension.

The codes and scales of a GGUF block are kept bit for bit, so that the kernels multiply with the published weights. The
package `gguf` dequantises to float32, which loses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError

GROUP = 32
ROWS_AT_ONCE = 2048  # rows of which a float32 copy is made at a time

Bits = Literal[4, 8]


@dataclass(frozen=True)
class QuantizedMatrix:
    """A weight matrix [out, inputs] as codes with one float16 scale (and minimum) per 32 inputs.

    codes: uint8 [out, inputs/32, 32].
        4 bits: code in 0..15, value = scale * code + minimum.
        8 bits: code in 0..255, value = scale * (code - 128).
    scale: float16 [out, inputs/32].
    minimum: float16 [out, inputs/32] with 4 bits, None with 8.
    """

    bits: Bits
    codes: NDArray[np.uint8]
    scale: NDArray[np.float16]
    minimum: NDArray[np.float16] | None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, inputs)."""
        rows, groups, group = self.codes.shape
        return rows, groups * group

    def rows(self, index: slice | NDArray[np.integer]) -> QuantizedMatrix:
        """The matrix of these output rows, in this order."""
        minimum = None if self.minimum is None else self.minimum[index]
        return QuantizedMatrix(self.bits, self.codes[index], self.scale[index], minimum)

    def dequantise(self) -> NDArray[np.float32]:
        """The values, float32 [out, inputs], computed in float32."""
        values = self.codes.astype(np.float32)
        if self.minimum is None:
            values -= 128.0
        values *= self.scale.astype(np.float32)[..., None]
        if self.minimum is not None:
            values += self.minimum.astype(np.float32)[..., None]
        return values.reshape(self.shape)


def quantise(weights: NDArray[np.float32], bits: Bits) -> QuantizedMatrix:
    """Round float32 [out, inputs] to codes.

    8 bits: symmetric, scale = max|w| / 127, codes in 1..255. 4 bits: 15 steps from the group's minimum to its
    maximum. The error is at most half a step, plus the rounding of the scale and the minimum to float16.
    Raises UserError when inputs is not a multiple of 32, or a scale does not fit into float16.
    """
    groups = _grouped(weights)
    parts = [
        _quantise_rows(groups[start : start + ROWS_AT_ONCE], bits)
        for start in range(0, len(groups), ROWS_AT_ONCE)
    ]
    return parts[0] if len(parts) == 1 else _stack(parts)


def to_8_bits(matrix: QuantizedMatrix) -> QuantizedMatrix:
    """The matrix in 8-bit codes. Exact when minimum = -8 * scale everywhere (Q4_0), otherwise rounded again."""
    if matrix.minimum is None:
        return matrix
    if np.array_equal(matrix.minimum, _eight_below(matrix.scale)):
        # scale * (code - 8) = scale * ((code + 120) - 128)
        return QuantizedMatrix(8, matrix.codes + np.uint8(120), matrix.scale, None)
    parts = [
        quantise(matrix.rows(slice(start, start + ROWS_AT_ONCE)).dequantise(), 8)
        for start in range(0, len(matrix.codes), ROWS_AT_ONCE)
    ]
    return _stack(parts)


def from_q8_0(blocks: NDArray[np.uint8]) -> QuantizedMatrix:
    """GGUF Q8_0, uint8 [out, inputs/32 * 34]: float16 scale, 32 int8 codes. Exact.

    int8 code -> uint8 code + 128 is a flip of the top bit.
    """
    fields = blocks.reshape(len(blocks), -1, 34)
    scale = _float16(fields[..., :2])
    return QuantizedMatrix(8, fields[..., 2:] ^ np.uint8(128), _finite(scale), None)


def from_q4_0(blocks: NDArray[np.uint8]) -> QuantizedMatrix:
    """GGUF Q4_0, uint8 [out, inputs/32 * 18]: float16 scale, 16 bytes of codes, value scale * (code - 8).

    Exact: the minimum -8 * scale changes only the sign and the exponent of the float16.
    """
    fields = blocks.reshape(len(blocks), -1, 18)
    scale = _finite(_float16(fields[..., :2]))
    return QuantizedMatrix(4, _nibbles(fields[..., 2:]), scale, _finite(_eight_below(scale)))


def from_q4_1(blocks: NDArray[np.uint8]) -> QuantizedMatrix:
    """GGUF Q4_1, uint8 [out, inputs/32 * 20]: float16 scale and minimum, 16 bytes of codes 0..15. Exact."""
    fields = blocks.reshape(len(blocks), -1, 20)
    scale, minimum = _float16(fields[..., :2]), _float16(fields[..., 2:4])
    return QuantizedMatrix(4, _nibbles(fields[..., 4:]), _finite(scale), _finite(minimum))


BLOCK_DECODERS: dict[str, Callable[[NDArray[np.uint8]], QuantizedMatrix]] = {
    "Q8_0": from_q8_0,
    "Q4_0": from_q4_0,
    "Q4_1": from_q4_1,
}
# GGUF types that become 4-bit codes; all others become 8-bit codes.
FOUR_BIT_TYPES = frozenset({"Q4_0", "Q4_1"})


def _quantise_rows(groups: NDArray[np.float32], bits: Bits) -> QuantizedMatrix:
    """Quantise float32 [rows, inputs/32, 32]. Codes are computed from the scale and minimum as rounded to float16."""
    if not np.isfinite(groups).all():
        raise UserError("a weight matrix holds infinite or undefined numbers; the file is damaged")
    if bits == 8:
        scale = _narrow(np.abs(groups).max(axis=-1) / np.float32(127))
        steps = np.rint(groups * _reciprocal(scale)[..., None])
        # A scale that is subnormal in float16 has a large relative error, so that |w| / scale can exceed 127.
        return QuantizedMatrix(8, (np.clip(steps, -127, 127) + 128).astype(np.uint8), scale, None)
    lowest = groups.min(axis=-1)  # [rows, inputs/32]
    minimum = _narrow(lowest)
    scale = _narrow((groups.max(axis=-1) - lowest) / np.float32(15))
    steps = np.rint((groups - minimum.astype(np.float32)[..., None]) * _reciprocal(scale)[..., None])
    return QuantizedMatrix(4, np.clip(steps, 0, 15).astype(np.uint8), scale, minimum)


def _grouped(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """[out, inputs] -> [out, inputs/32, 32]"""
    if weights.ndim != 2 or weights.shape[1] % GROUP:
        raise UserError(
            f"a weight matrix of shape {list(weights.shape)} cannot be cut into groups of {GROUP}"
        )
    return weights.reshape(weights.shape[0], -1, GROUP)


def _stack(parts: list[QuantizedMatrix]) -> QuantizedMatrix:
    minima = [part.minimum for part in parts if part.minimum is not None]
    return QuantizedMatrix(
        parts[0].bits,
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(minima) if minima else None,
    )


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[..., 16] bytes -> [..., 32] codes. The low halves are the codes 0..15 of a group, the high ones 16..31."""
    return np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)


def _float16(fields: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Little-endian bytes [..., 2] -> [...]"""
    halves: NDArray[np.float16] = np.ascontiguousarray(fields).view("<f2")[..., 0]
    return halves


def _eight_below(scale: NDArray[np.float16]) -> NDArray[np.float16]:
    """-8 * scale: exact, or infinite beyond the range of float16."""
    with np.errstate(over="ignore"):
        return scale * np.float16(-8)


def _narrow(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to float16. Raises UserError for a value beyond its range."""
    with np.errstate(over="ignore"):
        return _finite(values.astype(np.float16))


def _finite(values: NDArray[np.float16]) -> NDArray[np.float16]:
    if not np.isfinite(values).all():
        raise UserError("a weight matrix has scales that are not finite float16 numbers; the file is damaged")
    return values


def _reciprocal(scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """1 / scale, and 0 for a scale of 0, which makes the codes of a group of equal weights 0."""
    wide = scale.astype(np.float32)
    return np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
