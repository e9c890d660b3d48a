"""Codes and scales: floats are rounded within half a step, and 4 bits become 8."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.gguf.gguf_blocks import from_q4_0, from_q4_1, from_q8_0
from models.formats.quantization import quantise, to_8_bits


def halves(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


def random_rows(rows: int, width: int, offsets: list[int]) -> NDArray[np.uint8]:
    """Random blocks whose float16 fields (at these byte offsets) are small finite numbers."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (rows, 3, width), dtype=np.uint8)
    for offset in offsets:
        scale = rng.normal(size=(rows, 3, 1)).astype("<f2")
        blocks[..., offset : offset + 2] = scale.view(np.uint8)
    return blocks.reshape(rows, 3 * width)


def test_a_q4_1_block_is_read_as_the_format_says() -> None:
    block = halves(0.5, -3.0) + bytes(low | (15 - low) << 4 for low in range(16))
    matrix = from_q4_1(np.frombuffer(block, np.uint8)[None])
    assert matrix.bits == 4
    np.testing.assert_array_equal(matrix.codes[0, 0], [*range(16), *range(15, -1, -1)])
    np.testing.assert_array_equal(matrix.dequantise()[0, :16], np.arange(16) * 0.5 - 3.0)


def test_a_q4_0_block_is_symmetric_around_code_8() -> None:
    block = halves(0.25) + bytes([0x08] * 8 + [0xF0] * 8)
    matrix = from_q4_0(np.frombuffer(block, np.uint8)[None])
    expected = [0.0] * 8 + [-2.0] * 8 + [-2.0] * 8 + [7 * 0.25] * 8
    np.testing.assert_array_equal(matrix.dequantise()[0], expected)


def test_a_q8_0_block_holds_signed_codes() -> None:
    codes = np.array([-128, -1, 0, 1, 127] + [3] * 27, np.int8)
    matrix = from_q8_0(np.frombuffer(halves(2.0) + codes.tobytes(), np.uint8)[None])
    assert matrix.bits == 8
    np.testing.assert_array_equal(matrix.dequantise()[0], codes.astype(np.float32) * 2)


def test_q4_0_becomes_8_bits_without_loss() -> None:
    matrix = from_q4_0(random_rows(5, 18, [0]))
    wide = to_8_bits(matrix)
    assert (wide.bits, wide.minimum) == (8, None)
    np.testing.assert_array_equal(wide.dequantise(), matrix.dequantise())


def test_q4_1_becomes_8_bits_within_half_a_step() -> None:
    matrix = from_q4_1(random_rows(5, 20, [0, 2]))
    wide = to_8_bits(matrix)
    error = np.abs(wide.dequantise() - matrix.dequantise()).reshape(5, 3, 32)
    largest = np.abs(matrix.dequantise()).reshape(5, 3, 32).max(axis=-1, keepdims=True)
    assert (error <= largest / 127 * 0.51).all()


def test_rows_are_chosen_with_their_scales() -> None:
    matrix = from_q4_1(random_rows(6, 20, [0, 2]))
    order = np.array([4, 0, 5])
    np.testing.assert_array_equal(matrix.rows(order).dequantise(), matrix.dequantise()[order])


weights = arrays(np.float32, (3, 64), elements=st.floats(-60000, 60000, width=32))


@given(weights)
def test_8_bits_are_within_half_a_step(values: NDArray[np.float32]) -> None:
    error = np.abs(quantise(values, 8).dequantise() - values).reshape(3, 2, 32)
    largest = np.abs(values).reshape(3, 2, 32).max(axis=-1, keepdims=True)
    # half a step, what float16 loses of the scale (2^-11 of at most 127 steps), and its smallest number
    assert (error <= largest / 127 * (0.5 + 127 / 2048) + 127 * 2.0**-24).all()


@given(weights)
def test_4_bits_are_within_half_a_step(values: NDArray[np.float32]) -> None:
    error = np.abs(quantise(values, 4).dequantise() - values).reshape(3, 2, 32)
    groups = values.reshape(3, 2, 32)
    spread = groups.max(axis=-1, keepdims=True) - groups.min(axis=-1, keepdims=True)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    assert (error <= spread / 15 * (0.5 + 15 / 2048) + largest / 1024 + 15 * 2.0**-24).all()


def test_codes_keep_to_their_range() -> None:
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    assert quantise(values, 8).codes.min() >= 1  # never -128, so that its negation is a code too
    assert quantise(values, 4).codes.max() <= 15


def test_many_rows_are_quantised_as_few_are() -> None:
    values = np.random.default_rng(1).normal(size=(5000, 32)).astype(np.float32)
    np.testing.assert_array_equal(quantise(values, 8).codes[4096:], quantise(values[4096:], 8).codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_numbers_that_do_not_fit_are_refused(bad: float) -> None:
    values = np.zeros((1, 32), np.float32)
    values[0, 3] = bad
    with pytest.raises(UserError, match="damaged"):
        quantise(values, 8)


def test_blocks_with_infinite_scales_are_refused() -> None:
    with pytest.raises(UserError, match="damaged"):
        from_q4_1(np.frombuffer(halves(1.0, float("inf")) + bytes(16), np.uint8)[None])


def test_a_width_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(UserError, match="groups of 32"):
        quantise(np.zeros((2, 40), np.float32), 8)
