"""Which models compute in float by themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.adapter_weights import AdapterWeights
from models.families.parts import BaseWeights
from models.formats.model_description import SMALL_MODEL
from models.hub.store import ModelFiles
from models.lora.weights import LoraWeights
from models.precision import (
    LARGE_UPDATE,
    Updates,
    model_precision,
    product_norm,
)


def files(folder: Path, size: int, *names: str) -> ModelFiles:
    for name in names:
        with (folder / name).open("wb") as file:
            file.truncate(size // len(names))  # takes no space on the disk
    (folder / "tokenizer.json").write_bytes(b"x" * 1000)
    return ModelFiles("m", "llama", folder, {}, {}, None, "0")


def test_a_model_is_small_by_its_files_of_weights(tmp_path: Path) -> None:
    shards = ("model-1.safetensors", "model-2.safetensors")
    assert model_precision(files(tmp_path, SMALL_MODEL, *shards)) == "float"
    large = files(tmp_path, SMALL_MODEL + 2, *shards)
    assert model_precision(large) == "int8"
    assert model_precision(large, "float") == "float"
    assert model_precision(files(tmp_path, 0, *shards), "int8") == "int8"


def test_both_files_of_a_pair_count(tmp_path: Path) -> None:
    pair = files(tmp_path, SMALL_MODEL + 2, "lm.gguf", "mmproj.gguf")
    both = {"language_model": tmp_path / "lm.gguf", "mmproj": tmp_path / "mmproj.gguf"}
    assert model_precision(replace(pair, files=both)) == "int8"
    assert model_precision(replace(pair, files={"language_model": both["language_model"]})) == "float"


@pytest.mark.parametrize(("share", "wanted"), [(LARGE_UPDATE * 0.99, False), (LARGE_UPDATE * 1.01, True)])
def test_an_update_that_is_large_beside_the_weights_needs_floats(share: float, wanted: bool) -> None:
    random = np.random.default_rng(0)
    a, b, w = (random.normal(size=size).astype(np.float32) for size in ((4, 64), (32, 4), (32, 64)))
    w *= np.linalg.norm(b @ a) / np.linalg.norm(w) / share
    lora = LoraWeights("x", 1, 4, {"layers.0.q_proj.A": a, "layers.0.q_proj.B": b})
    base = BaseWeights(lambda _: w)
    assert Updates(base).size(AdapterWeights(lora)) == pytest.approx(share)
    assert Updates(base).need_floats(AdapterWeights(lora)) == wanted
    assert product_norm(b, a) == pytest.approx(np.linalg.norm(b @ a) ** 2)


def test_an_adapter_without_a_lora_or_of_another_model_needs_none() -> None:
    def missing(module: str) -> np.ndarray:
        raise KeyError(module)

    empty = AdapterWeights(LoraWeights("x", 1, 1, {}))
    assert Updates(BaseWeights(missing)).size(empty) == 0
    ones = {
        "layers.9.q_proj.A": np.ones((1, 32), np.float32),
        "layers.9.q_proj.B": np.ones((32, 1), np.float32),
    }
    assert not Updates(BaseWeights(missing)).need_floats(AdapterWeights(LoraWeights("x", 1, 1, ones)))
