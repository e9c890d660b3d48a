"""Adapters of a vision tower and its connector: as if they were merged, on every kernel path, or refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.compiler.cpu import KernelPath
from models.core.errors import UserError
from models.lora.vision_lora import VisionLora
from models.vision.siglip.adapter import pack_vision_lora
from tests.models.vision.siglip.siglip_cases import (
    CONFIGS,
    ReferenceTower,
    distance,
    merged_weights,
    random_lora,
    random_tile,
)
from tests.models.vision.siglip.test_encoder import CASES, encoder

B16 = CONFIGS["b16"]


@pytest.mark.parametrize(("name", "path"), CASES)
@pytest.mark.parametrize("rank", [5, 40])
def test_an_adapter_gives_the_rows_of_the_tower_it_is_merged_into(
    name: str, path: KernelPath, rank: int
) -> None:
    config = CONFIGS[name]
    tile, lora = random_tile(config), random_lora(config, rank)
    found = encoder(name, path).encode(tile, pack_vision_lora(config, lora, "x", 1))
    expected = ReferenceTower(merged_weights(config, lora), rounding=False).encode(tile)
    assert distance(found, expected) < 0.05
    plain = encoder(name, path).encode(tile)
    assert distance(plain, expected) > 0.3


@pytest.mark.parametrize("name", CONFIGS)
def test_a_connector_that_was_trained_takes_the_place_of_the_model_s(name: str) -> None:
    config = CONFIGS[name]
    shape = (config.text_hidden, config.hidden * config.scale_factor**2)
    weights = np.random.default_rng(2).normal(0, shape[1] ** -0.5, shape).astype(np.float32)
    lora = VisionLora(1, {}, connector=weights)
    found = encoder(name).encode(random_tile(config), pack_vision_lora(config, lora, "x", 1))
    expected = ReferenceTower(merged_weights(config, lora), rounding=False).encode(random_tile(config))
    assert distance(found, expected) < 0.04


def test_an_adapter_leaves_no_trace() -> None:
    tile = random_tile(B16)
    before = encoder("b16").encode(tile)
    encoder("b16").encode(tile, pack_vision_lora(B16, random_lora(B16), "x", 1))
    assert np.array_equal(encoder("b16").encode(tile), before)


def test_zeros_and_factors_of_one_change_no_bit() -> None:
    lora = random_lora(B16)
    zeros = {name: tensor * np.float32(name.endswith("A")) for name, tensor in lora.tensors.items()}
    ones = {module: np.ones_like(factors) for module, factors in lora.factors.items()}
    tile = random_tile(B16)
    packed = pack_vision_lora(B16, replace(lora, tensors=zeros, factors=ones), "x", 1)
    assert np.array_equal(encoder("b16").encode(tile, packed), encoder("b16").encode(tile))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank": 65}, "rank 65"),
        (
            {"tensors": {"layers.2.q.A": np.zeros((5, 128), np.float32)}},
            "layers.2.q.A of a vision tower, which",
        ),
        ({"tensors": {"layers.0.q.A": np.zeros((5, 96), np.float32)}}, r"\[5, 96\], expected \[5, 128\]"),
        ({"tensors": {"layers.0.fc1.B": np.zeros((128, 5), np.float32)}}, r"expected \[192, 5\]"),
        ({"factors": {"layers.1.fc1": np.ones(128, np.float32)}}, r"expected \[192\]"),
        ({"connector": np.zeros((96, 128), np.float32)}, r"expected \[96, 2048\]"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(changes: dict[str, object], says: str) -> None:
    lora = replace(VisionLora(5, {}), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=says):
        pack_vision_lora(B16, lora, "x", 1)
