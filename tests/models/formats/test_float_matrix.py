"""Matrices of floats keep every value that the files have."""

from __future__ import annotations

import numpy as np
import pytest

from models.core.errors import UserError
from models.formats.float_matrix import (
    FloatMatrix,
    FloatType,
    common_type,
    float_type,
    from_blocks,
    widen_bfloat16,
)


def numbers(kind: FloatType, rows: int, inputs: int) -> np.ndarray:
    """Any finite numbers of a type, the smallest and largest included."""
    random = np.random.default_rng(3)
    if kind == "f32":
        return random.normal(size=(rows, inputs)).astype(np.float32)
    bits = random.integers(0, 1 << 16, (rows, inputs)).astype(np.uint16)
    values = widen_bfloat16(bits) if kind == "bf16" else bits.view(np.float16).astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(1))


@pytest.mark.parametrize("rows", [16, 32])
@pytest.mark.parametrize("kind", ["bf16", "f16", "f32"])
def test_every_number_of_a_type_comes_back_from_its_blocks(kind: FloatType, rows: int) -> None:
    matrix = FloatMatrix(kind, numbers(kind, 41, 64))
    blocks = matrix.blocks(rows)
    assert blocks.shape == (-(-41 // rows), 64 * rows * matrix.bits // 8)
    back = from_blocks(kind, blocks, rows, 64).values
    np.testing.assert_array_equal(back[:41], matrix.values)
    assert not back[41:].any()


def test_types_that_differ_are_held_by_float32() -> None:
    assert common_type(["bf16", "bf16"]) == "bf16"
    assert common_type(["bf16", "f16"]) == "f32"  # neither holds the values of the other
    assert common_type(["f16", "f32"]) == "f32"
    assert [float_type(name) for name in ("BF16", "F16", "F32", "Q8_0", "bfloat16")] == [
        "bf16", "f16", "f32", "f32", "bf16",
    ]  # fmt: skip


def test_a_damaged_matrix_is_refused() -> None:
    with pytest.raises(UserError, match="infinite or undefined"):
        FloatMatrix("f32", np.full((16, 32), np.nan, np.float32)).blocks(16)
