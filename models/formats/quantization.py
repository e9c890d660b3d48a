"""Matrices of 4- or 8-bit codes in groups of 32 along the input dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError

GROUP = 32
WEIGHTS_AT_ONCE = 1 << 18  # of which a float32 copy is made at a time: what fits into a processor's cache

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
    rows, inputs = weights.shape
    return quantise_by_parts(lambda part: weights[part], rows, inputs, bits)


def quantise_by_parts(
    read: Callable[[slice], NDArray[np.float32]], rows: int, inputs: int, bits: Bits
) -> QuantizedMatrix:
    """Round a matrix [rows, inputs] to codes like `quantise`, with a part of it in memory at a time.

    read: float32 [rows, inputs] of these rows.
    """
    if inputs % GROUP:
        raise UserError(f"a weight matrix of shape {[rows, inputs]} cannot be cut into groups of {GROUP}")
    step = max(1, WEIGHTS_AT_ONCE // inputs)
    groups = (inputs // GROUP, GROUP)
    codes = np.empty((rows, *groups), np.uint8)
    scale = np.empty((rows, groups[0]), np.float16)
    minimum = np.empty_like(scale) if bits == 4 else None
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        rounded = _quantise_rows(read(part).reshape(-1, *groups), bits)
        codes[part], scale[part] = rounded.codes, rounded.scale
        if minimum is not None:
            minimum[part] = rounded.minimum
    return QuantizedMatrix(bits, codes, scale, minimum)


def rest_by_parts(read: Callable[[slice], NDArray[np.float32]], rows: int, inputs: int) -> QuantizedMatrix:
    """What quantise_by_parts in 8 bits leaves of the matrix, in 8 bits. The sum of both has about 16 bits."""

    def left(part: slice) -> NDArray[np.float32]:
        values = read(part)
        return values - quantise(values, 8).dequantise()

    return quantise_by_parts(left, rows, inputs, 8)


def to_8_bits(matrix: QuantizedMatrix) -> QuantizedMatrix:
    """The matrix in 8-bit codes. Exact when minimum = -8 * scale everywhere (Q4_0), otherwise rounded again."""
    if matrix.minimum is None:
        return matrix
    if np.array_equal(matrix.minimum, eight_below(matrix.scale)):
        # scale * (code - 8) = scale * ((code + 120) - 128)
        return QuantizedMatrix(8, matrix.codes + np.uint8(120), matrix.scale, None)
    return quantise_by_parts(lambda rows: matrix.rows(rows).dequantise(), *matrix.shape, 8)


def _quantise_rows(groups: NDArray[np.float32], bits: Bits) -> QuantizedMatrix:
    """Quantise float32 [rows, inputs/32, 32]. Codes are computed from the scale and minimum as rounded to float16."""
    if not np.isfinite(groups).all():
        raise UserError("a weight matrix holds infinite or undefined numbers; the file is damaged")
    if bits == 8:
        scale = narrow(np.abs(groups).max(axis=-1) / np.float32(127))
        steps = np.rint(groups * _reciprocal(scale)[..., None])
        # A scale that is subnormal in float16 has a large relative error, so that |w| / scale can exceed 127.
        return QuantizedMatrix(8, (np.clip(steps, -127, 127) + 128).astype(np.uint8), scale, None)
    lowest = groups.min(axis=-1)  # [rows, inputs/32]
    minimum = narrow(lowest)
    scale = narrow((groups.max(axis=-1) - lowest) / np.float32(15))
    steps = np.rint((groups - minimum.astype(np.float32)[..., None]) * _reciprocal(scale)[..., None])
    return QuantizedMatrix(4, np.clip(steps, 0, 15).astype(np.uint8), scale, minimum)


def eight_below(scale: NDArray[np.float16]) -> NDArray[np.float16]:
    """-8 * scale: exact, or infinite beyond the range of float16."""
    with np.errstate(over="ignore"):
        return scale * np.float16(-8)


def narrow(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to float16. Raises UserError for a value beyond its range."""
    with np.errstate(over="ignore"):
        return finite(values.astype(np.float16))


def finite(values: NDArray[np.float16]) -> NDArray[np.float16]:
    """The values themselves. Raises UserError when one is infinite or undefined."""
    if not np.isfinite(values).all():
        raise UserError("a weight matrix has scales that are not finite float16 numbers; the file is damaged")
    return values


def _reciprocal(scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """1 / scale, and 0 for a scale of 0, which makes the codes of a group of equal weights 0."""
    wide = scale.astype(np.float32)
    return np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
