"""LoRA tensors: their places in the layout, their rounding, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.errors import UserError
from models.lora.weights import LoraWeights, PackedLora, add_packed, pack_lora, to_floats
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import A_TILE_BYTES, B_TILE_BYTES, SITES, LoraLayout, lora_tiles
from tests.models.tiny_llama import random_lora, rounded

SHAPE = LlamaShape(96, 160, 2, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0)


def read_tile(tile: NDArray[np.uint8], columns: int) -> NDArray[np.float32]:
    """float32 [16, columns] of one tile, byte by byte from the description of the format."""
    scale = tile[16 * columns :].view(np.float32)
    values = np.zeros((16, columns), np.float32)
    for row in range(16):
        for column in range(columns):
            code = tile[column // 4 * 64 + row * 4 + column % 4]
            values[row, column] = (np.float32(code) - 128) * scale[row]
    return values


def packed_a(packed: PackedLora, layer: int, role: str) -> NDArray[np.float32]:
    """A [rank, inputs] of one module, read back from the tensor."""
    layout, tiles = LoraLayout(SHAPE), packed.rank // 16
    site, roles = next((site, roles) for site, roles in SITES.items() if role in roles)
    inputs = SHAPE.matrix(role)[1]
    start = (layer * layout.layer_size() + layout.a_offset(site)) * tiles
    area = packed.tensor[start:][: inputs // 32 * len(roles) * tiles * A_TILE_BYTES]
    area = area.reshape(inputs // 32, len(roles), tiles, A_TILE_BYTES)
    part = roles.index(role)
    return np.block(
        [[read_tile(area[g, part, t], 32) for g in range(inputs // 32)] for t in range(tiles)]
    ).astype(np.float32)


def packed_b(packed: PackedLora, layer: int, role: str) -> NDArray[np.float32]:
    """B [outputs, rank]."""
    layout, tiles = LoraLayout(SHAPE), packed.rank // 16
    blocks = SHAPE.matrix(role)[0] // 16
    start = (layer * layout.layer_size() + layout.b_offset(role)) * tiles
    area = packed.tensor[start:][: blocks * tiles * B_TILE_BYTES].reshape(blocks, tiles, B_TILE_BYTES)
    return np.block([[read_tile(area[b, t], 16) for t in range(tiles)] for b in range(blocks)]).astype(
        np.float32
    )


@pytest.mark.parametrize("rank", [1, 16, 24])
def test_every_value_is_found_where_the_layout_says(rank: int) -> None:
    lora = random_lora(SHAPE, rank)
    packed = pack_lora(SHAPE, lora)
    assert packed.rank == -(-rank // 16) * 16
    more = packed.rank - rank
    for role in ("q", "v", "o", "up", "down"):
        a, b = (lora.tensors[f"layers.1.{role}_proj.{side}"] for side in "AB")
        expected_a, expected_b = np.pad(a, ((0, more), (0, 0))), np.pad(b, ((0, 0), (0, more)))
        assert np.allclose(packed_a(packed, 1, role), rounded(expected_a), atol=1e-6)
        assert np.allclose(packed_b(packed, 1, role), rounded(expected_b, 16), atol=1e-6)


def test_rounding_loses_at_most_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    tiles = lora_tiles(matrix, 32)
    back = np.block([[read_tile(tiles[i, j], 32) for j in range(2)] for i in range(2)])
    steps = np.abs(matrix.reshape(32, 2, 32)).max(axis=-1).repeat(32, axis=1) / 127
    assert (np.abs(back - matrix) <= steps * 0.5001).all()


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1e8, 1e30])
def test_any_magnitude_keeps_its_relative_precision(size: float) -> None:
    matrix = (np.random.default_rng(0).normal(size=(16, 16)) * size).astype(np.float32)
    back = read_tile(lora_tiles(matrix, 16)[0, 0], 16)
    assert np.abs(back - matrix).max() < 0.005 * np.abs(matrix).max()


def test_zeros_and_subnormal_numbers_become_zero() -> None:
    matrix = np.zeros((16, 16), np.float32)
    matrix[3] = 1e-44
    tile = lora_tiles(matrix, 16)[0, 0]
    assert np.abs(read_tile(tile, 16)).max() < 1e-38


def test_ranks_from_1_to_128_only() -> None:
    for rank in (0, 129):
        tensors = {"layers.0.q_proj.A": np.zeros((rank, 96), np.float32)}
        with pytest.raises(UserError, match=rf"x has rank {rank}; ranks from 1 to 128"):
            pack_lora(SHAPE, LoraWeights("x", 1, rank, tensors))


def test_what_does_not_fit_is_named() -> None:
    def refusal(name: str, shape: tuple[int, int], value: float = 0.0) -> str:
        with pytest.raises(UserError) as error:
            pack_lora(SHAPE, LoraWeights("mine", 1, 8, {name: np.full(shape, value, np.float32)}))
        return str(error.value)

    assert "layers.0.q_proj.A is [8, 64], expected [8, 96]" in refusal("layers.0.q_proj.A", (8, 64))
    assert "layers.1.down_proj.B is [96, 4], expected [96, 8]" in refusal("layers.1.down_proj.B", (96, 4))
    assert "no place for" in refusal("layers.2.q_proj.A", (8, 96))
    assert "mine is damaged: layers.0.q_proj.A" in refusal("layers.0.q_proj.A", (8, 96), float("nan"))
    assert "not numbers" in refusal("layers.0.q_proj.A", (8, 96), float("inf"))


def test_adding_packed_adapters_adds_their_updates() -> None:
    one, two = random_lora(SHAPE, 3, 1), random_lora(SHAPE, 20, 2)
    del one.tensors["layers.0.k_proj.A"], one.tensors["layers.0.k_proj.B"]  # type: ignore[attr-defined]
    first, second = pack_lora(SHAPE, one), pack_lora(SHAPE, two)
    both = add_packed(SHAPE, "sum", 7, [(first, 2.0), (second, -1.0)])
    assert (both.name, both.generation, both.rank) == ("sum", 7, 16 + 32)

    def update(packed: PackedLora, layer: int, role: str) -> NDArray[np.float32]:
        return packed_b(packed, layer, role) @ packed_a(packed, layer, role)

    for layer, role in ((0, "k"), (1, "k"), (0, "q"), (1, "down"), (0, "up")):
        expected = 2 * update(first, layer, role) - update(second, layer, role)
        assert np.allclose(update(both, layer, role), expected, atol=1e-6)
        assert np.abs(expected).max() > 0.01


def test_adding_one_adapter_at_full_weight_changes_no_byte() -> None:
    packed = pack_lora(SHAPE, random_lora(SHAPE, 16))
    assert np.array_equal(add_packed(SHAPE, "same", 1, [(packed, 1.0)]).tensor, packed.tensor)


def test_a_dora_is_added_to_nothing() -> None:
    dora = replace(random_lora(SHAPE, 8), factors={"layers.0.o_proj": np.ones(96, np.float32)})
    packed = pack_lora(SHAPE, dora)
    with pytest.raises(UserError, match="is a DoRA"):
        add_packed(SHAPE, "sum", 1, [(packed, 1.0)])


def test_factors_of_the_wrong_length_are_named() -> None:
    dora = replace(random_lora(SHAPE, 8), factors={"layers.0.o_proj": np.ones(95, np.float32)})
    with pytest.raises(UserError, match=r"layers.0.o_proj is \[95\], expected \[96\]"):
        pack_lora(SHAPE, dora)


def test_ranks_that_sum_to_more_than_can_run_are_refused_in_one_sentence() -> None:
    packed = pack_lora(SHAPE, random_lora(SHAPE, 60))
    add_packed(SHAPE, "a,b", 1, [(packed, 0.5), (packed, 0.5)])
    with pytest.raises(UserError, match=r"^The adapters of a,b,c have the ranks 64 \+ 64 \+ 64 = 192 .*128"):
        add_packed(SHAPE, "a,b,c", 1, [(packed, 0.5)] * 3)


def test_a_lora_of_8_bits_becomes_floats_to_be_added_to_one_of_floats() -> None:
    shape = replace(SHAPE, float_type="f32")
    one, other = random_lora(SHAPE, 16, 1), random_lora(SHAPE, 16, 2)
    converted = to_floats(shape, pack_lora(SHAPE, one))
    exact = pack_lora(shape, one)
    assert converted.floats
    assert converted.tensor.nbytes == exact.tensor.nbytes
    found, wanted = converted.tensor.view(np.float32), exact.tensor.view(np.float32)
    assert np.linalg.norm(found - wanted) < 0.01 * np.linalg.norm(wanted)
    both = add_packed(shape, "both", 1, [(converted, 0.5), (pack_lora(shape, other), 2.0)])
    assert (both.rank, both.floats) == (32, True)
    layout = LoraLayout(shape)
    b = layout.b_tiles(both.tensor, 32, "v").view(np.float32)
    assert np.array_equal(b[:, :, 0], layout.b_tiles(converted.tensor, 16, "v").view(np.float32)[:, :, 0] / 2)
