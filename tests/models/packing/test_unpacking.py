"""Packed weights are read back as they were packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.formats.llama_weights import LINEAR_ROLES
from models.formats.quantization import Bits, quantise
from models.packing.tiles import pack_matrix
from models.packing.unpacking import module_weights, unpack_matrix
from tests.models import tiny_llama
from tests.models.tiny_llama import symmetric_4_bits


@pytest.mark.parametrize("bits", [4, 8])
def test_unpacking_is_the_inverse_of_packing(bits: Bits) -> None:
    matrix = quantise(np.random.default_rng(1).normal(size=(48, 96)).astype(np.float32), bits)
    back = unpack_matrix(pack_matrix(matrix), bits, 96)
    np.testing.assert_array_equal(back.codes, matrix.codes)
    np.testing.assert_array_equal(back.dequantise(), matrix.dequantise())


def test_each_layer_of_a_model_has_its_weights(tmp_path: Path) -> None:
    wide = {"v": 0b101, "o": 0b010}
    weights = tiny_llama.random_weights(tiny_llama.config(), {"down": 8, "q": 8}, wide=wide)
    packed = tiny_llama.pack(weights, tmp_path)
    assert [packed.shape.layer_bits("v", layer) for layer in range(3)] == [8, 4, 8]
    assert [packed.shape.layer_bits("q", layer) for layer in range(3)] == [8, 8, 8]
    for layer in range(3):
        for role in LINEAR_ROLES:
            expected = getattr(weights.layers[layer], role).dequantise()
            np.testing.assert_array_equal(module_weights(packed, f"layers.{layer}.{role}_proj"), expected)


@pytest.mark.parametrize("module", ["layers.3.q_proj", "layers.0.r_proj", "embedding"])
def test_a_module_that_is_not_there_is_a_key_error(tmp_path: Path, module: str) -> None:
    packed = tiny_llama.pack(tiny_llama.random_weights(tiny_llama.config()), tmp_path)
    with pytest.raises(KeyError):
        module_weights(packed, module)


def test_the_minimums_that_a_symmetric_model_leaves_out_come_back() -> None:
    matrix = symmetric_4_bits(np.random.default_rng(3).normal(size=(32, 64)).astype(np.float32))
    again = unpack_matrix(pack_matrix(matrix, symmetric=True), 4, 64, symmetric=True)
    assert np.array_equal(again.dequantise(), matrix.dequantise())
