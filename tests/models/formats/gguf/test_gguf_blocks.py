"""The blocks of every quantised GGUF type mean what the format's own package says, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.gguf.gguf_blocks import (
    BLOCK_DECODERS,
    FOUR_BIT_TYPES,
    gguf_matrix,
    q5_1_floats,
    q5_k_floats,
    q6_k_floats,
)
from models.formats.gguf.gguf_file import GgufFile
from models.formats.quantization import QuantizedMatrix
from tests.models.formats.gguf.gguf_files import float_tensor, gguf_bytes, write_gguf

FIXTURE = Path(__file__).parents[3] / "fixtures" / "gguf_blocks" / "blocks.npz"
EXACT = ("Q8_0", "Q4_0", "Q4_1", "Q5_0")
ROUNDED = ("Q5_1", "Q5_K", "Q6_K")

Case = tuple[NDArray[np.uint8], NDArray[np.float32]]


def case(kind: str) -> Case:
    """Blocks of a type, and their values as the package `gguf` computes them."""
    with np.load(FIXTURE) as arrays:
        return arrays[f"{kind}/blocks"], arrays[f"{kind}/values"]


def by_group(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.reshape(len(values), -1, 32)


def test_every_type_has_a_case() -> None:
    assert sorted(BLOCK_DECODERS) == sorted([*EXACT, *ROUNDED, "Q4_K"])


@pytest.mark.parametrize("kind", EXACT)
def test_types_with_our_groups_are_kept_exactly(kind: str) -> None:
    blocks, values = case(kind)
    matrix = BLOCK_DECODERS[kind](blocks)
    assert matrix.bits == (4 if kind in FOUR_BIT_TYPES else 8)
    np.testing.assert_array_equal(matrix.dequantise(), values)


def test_q4_k_keeps_its_codes_and_rounds_its_scales_to_float16() -> None:
    blocks, values = case("Q4_K")
    matrix = BLOCK_DECODERS["Q4_K"](blocks)
    assert matrix.bits == 4
    assert matrix.minimum is not None
    error = np.abs(by_group(matrix.dequantise() - values)).max(axis=-1)
    largest = 15 * np.abs(matrix.scale.astype(np.float32)) + np.abs(matrix.minimum.astype(np.float32))
    assert (error <= largest * 2.0**-11 + 2.0**-20).all()


@pytest.mark.parametrize(
    ("kind", "floats"), [("Q5_1", q5_1_floats), ("Q5_K", q5_k_floats), ("Q6_K", q6_k_floats)]
)
def test_other_types_are_rounded_to_8_bits_from_their_exact_values(kind: str, floats: object) -> None:
    blocks, values = case(kind)
    np.testing.assert_array_equal(floats(blocks), values)  # type: ignore[operator]
    matrix = BLOCK_DECODERS[kind](blocks)
    assert (matrix.bits, matrix.minimum) == (8, None)
    error = np.abs(by_group(matrix.dequantise() - values)).max(axis=-1)
    assert (error <= np.abs(by_group(values)).max(axis=-1) / 127 * 0.57 + 2.0**-18).all()


def test_a_q6_k_block_is_read_as_the_format_says() -> None:
    """The codes of weights 5, 37, 69 and 101 share a byte of upper bits; their scales are those of 0, 2, 4 and 6."""
    block = np.zeros(210, np.uint8)
    block[208:] = np.array([0.5], "<f2").view(np.uint8)
    block[192:208] = np.arange(1, 17, dtype=np.int8).view(np.uint8)
    block[5], block[32 + 5] = 0x21, 0x43
    block[128 + 5] = 0b11_10_01_00
    values = q6_k_floats(block[None])[0]
    assert values[5] == 0.5 * 1 * (1 + 0 * 16 - 32)
    assert values[37] == 0.5 * 3 * (3 + 1 * 16 - 32)
    assert values[69] == 0.5 * 5 * (2 + 2 * 16 - 32)
    assert values[101] == 0.5 * 7 * (4 + 3 * 16 - 32)
    assert values[128] == 0.5 * 9 * -32


@pytest.mark.parametrize("kind", sorted(BLOCK_DECODERS))
def test_a_factor_that_is_not_finite_is_refused(kind: str) -> None:
    blocks = case(kind)[0].copy()
    start = 208 if kind == "Q6_K" else 0
    blocks[1, start : start + 2] = np.array([np.inf], "<f2").view(np.uint8)
    with pytest.raises(UserError, match="damaged"):
        BLOCK_DECODERS[kind](blocks)


@pytest.mark.parametrize("kind", sorted(BLOCK_DECODERS))
def test_a_tensor_of_each_type_is_read_from_a_file_and_missed_at_its_end(tmp_path: Path, kind: str) -> None:
    blocks, values = case(kind)
    content = gguf_bytes({}, {"t": (kind, values.shape, blocks.tobytes())})
    (tmp_path / "a.gguf").write_bytes(content)
    file = GgufFile(tmp_path / "a.gguf")
    np.testing.assert_array_equal(file.blocks("t"), blocks)
    assert isinstance(matrix := gguf_matrix(file, "t"), QuantizedMatrix)
    assert matrix.shape == values.shape
    (tmp_path / "short.gguf").write_bytes(content[:-1])
    with pytest.raises(UserError, match="ends inside the tensor 't'"):
        GgufFile(tmp_path / "short.gguf")
    width = 96 if kind.endswith("K") else 48
    odd = gguf_bytes({}, {"t": (kind, (1, width), blocks.tobytes())})
    (tmp_path / "odd.gguf").write_bytes(odd)
    with pytest.raises(UserError, match="impossible shape"):
        GgufFile(tmp_path / "odd.gguf")


def test_floats_are_rounded_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).normal(size=(7, 64)).astype(np.float32)
    file = GgufFile(write_gguf(tmp_path / "a.gguf", {}, {"t": float_tensor(values, "F32")}))
    whole = gguf_matrix(file, "t")
    monkeypatch.setattr("models.formats.quantization.WEIGHTS_AT_ONCE", 128)
    np.testing.assert_array_equal(gguf_matrix(file, "t").codes, whole.codes)
    assert np.abs(whole.dequantise() - values).max() < np.abs(values).max() / 127
