"""Vision towers: mmproj files and Hugging Face directories give the same tensors, whatever the files' age."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from models.core.errors import UserError
from models.formats.gguf.gguf_blocks import from_q8_0
from models.formats.siglip_sources import load_siglip
from models.formats.siglip_weights import SiglipConfig, SiglipWeights
from tests.models.formats.gguf.gguf_files import write_gguf
from tests.models.formats.siglip_files import (
    Arrays,
    hugging_face_tensors,
    mmproj_metadata,
    mmproj_tensors,
    random_tower,
    settings,
    siglip,
    write_mmproj,
    write_tower_directory,
)

INTEGERS = np.array([1, 2], np.int32)  # an array where the format has a single value


def check(weights: SiglipWeights, config: SiglipConfig, tensors: Arrays) -> None:
    assert replace(weights.config, norm_eps=config.norm_eps) == config
    assert weights.config.norm_eps == pytest.approx(config.norm_eps)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(weights.floats(name), tensor, name)


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_an_mmproj_file_is_read(tmp_path: Path, kind: str) -> None:
    config = siglip()
    tensors = random_tower(config)
    check(load_siglip(write_mmproj(tmp_path / "m.gguf", config, tensors, kind)), config, tensors)


@pytest.mark.parametrize("prefix", ["model.", "model.model.", ""])
def test_a_hugging_face_directory_is_read_under_each_prefix(tmp_path: Path, prefix: str) -> None:
    config = siglip()
    tensors = random_tower(config)
    stored = hugging_face_tensors(config, tensors, prefix)
    stored["lm_head.weight"] = np.ones((4, 64), np.float32)  # parts of the language model are no concern here
    stored[f"{prefix}text_model.norm.weight"] = np.ones(64, np.float32)
    check(load_siglip(write_tower_directory(tmp_path / "m", config, stored)), config, tensors)


def test_tensors_in_several_files_are_read(tmp_path: Path) -> None:
    config = siglip()
    tensors = random_tower(config)
    stored = hugging_face_tensors(config, tensors)
    path = write_tower_directory(tmp_path / "m", config, {})
    (path / "model.safetensors").unlink()
    names = sorted(stored)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, kept in shards.items():
        safetensors.numpy.save_file({name: stored[name] for name in kept}, path / file)
    index = {"weight_map": {name: file for file, kept in shards.items() for name in kept}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    check(load_siglip(path), config, tensors)


def test_settings_that_config_json_leaves_out_are_the_classes_defaults(tmp_path: Path) -> None:
    config = siglip(hidden=128, heads=16, inner=3072, layers=12, image_size=224, patch=32, scale_factor=2)
    config = replace(config, image_size=256)
    tensors = random_tower(config)
    given = settings(config, model_type="smolvlm")
    for key in (
        "num_hidden_layers",
        "intermediate_size",
        "layer_norm_eps",
        "patch_size",
        "num_attention_heads",
    ):
        del given["vision_config"][key]
    del given["scale_factor"]
    path = write_tower_directory(tmp_path / "m", config, hugging_face_tensors(config, tensors), given)
    assert load_siglip(path).config == config


def test_names_of_the_mlp_that_old_files_exchange_are_told_by_shape(tmp_path: Path) -> None:
    config = siglip()
    tensors = random_tower(config)
    stored = mmproj_tensors(config, tensors)
    swapped = {re.sub(r"ffn_(up|down)", _other, name): tensor for name, tensor in stored.items()}
    assert swapped["v.blk.0.ffn_up.weight"][1] == (config.hidden, config.inner)
    metadata = mmproj_metadata(config, clip__vision__attention__layer_norm_epsilon=None)
    check(load_siglip(write_gguf(tmp_path / "m.gguf", metadata, swapped)), config, tensors)


def test_the_names_are_believed_when_the_mlp_is_as_wide_as_the_tower(tmp_path: Path) -> None:
    config = siglip(inner=32)
    tensors = random_tower(config)
    check(load_siglip(write_mmproj(tmp_path / "m.gguf", config, tensors)), config, tensors)


def test_the_rows_width_is_that_of_the_connector(tmp_path: Path) -> None:
    config = siglip()
    path = write_mmproj(tmp_path / "m.gguf", config, random_tower(config), clip__vision__projection_dim=32)
    assert load_siglip(path).config.text_hidden == 64


def test_q8_0_codes_are_kept_and_a_width_that_is_no_multiple_of_32_is_padded(tmp_path: Path) -> None:
    config = siglip()
    tensors = random_tower(config)
    stored: dict[str, Any] = mmproj_tensors(config, tensors, "F16")
    blocks = _random_q8_0(32, 32)
    stored["v.blk.1.attn_q.weight"] = ("Q8_0", (32, 32), blocks.tobytes())
    weights = load_siglip(write_gguf(tmp_path / "m.gguf", mmproj_metadata(config), stored))
    kept, expected = weights.matrix("layers.1.q.weight"), from_q8_0(blocks)
    np.testing.assert_array_equal(kept.codes, expected.codes)
    np.testing.assert_array_equal(weights.floats("layers.1.q.weight"), expected.dequantise())
    padded = weights.matrix("layers.1.fc2.weight")  # F16, 72 wide
    assert (padded.bits, padded.shape) == (8, (32, 96))
    values = padded.dequantise()
    assert not values[:, 72:].any()
    error = np.abs(values[:, :72] - tensors["layers.1.fc2.weight"]).max()
    assert error <= np.abs(tensors["layers.1.fc2.weight"]).max() / 127 * 0.51


def test_both_forms_give_the_same_matrices(tmp_path: Path) -> None:
    config = siglip()
    tensors = random_tower(config)
    one = load_siglip(write_mmproj(tmp_path / "m.gguf", config, tensors))
    other = load_siglip(write_tower_directory(tmp_path / "m", config, hugging_face_tensors(config, tensors)))
    for name in ("patch_embedding.weight", "layers.0.k.weight", "layers.1.fc1.weight", "connector.weight"):
        np.testing.assert_array_equal(one.matrix(name).codes, other.matrix(name).codes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clip__projector_type": "ldp"}, "projector_type ldp is not supported"),
        ({"general__architecture": "llama"}, "no vision tower"),
        ({"clip__use_gelu": False}, "activation"),
        ({"clip__vision__image_mean": np.array([0.4, 0.5, 0.5], np.float32)}, "image_mean"),
        ({"clip__vision__projector__scale_factor": 2}, "scale factor 2"),
        ({"clip__vision__attention__head_count": 3}, "3 heads"),
        ({"clip__vision__attention__head_count": 8}, "heads 4 wide"),
        ({"clip__vision__embedding_length": 272}, "heads 136 wide"),
        ({"clip__vision__block_count": 3}, r"layers\.2\."),
        ({"clip__vision__block_count": 900}, "incomplete"),
        ({"clip__vision__block_count": 1 << 30}, "at most 1000"),
        ({"general__architecture": INTEGERS}, "general.architecture .* a single value"),
        ({"clip__projector_type": INTEGERS}, "clip.projector_type .* a single value"),
        ({"clip__has_vision_encoder": INTEGERS}, "clip.has_vision_encoder .* a single value"),
        ({"clip__use_silu": INTEGERS}, "clip.use_silu .* a single value"),
        ({"clip__vision__image_std": "half"}, "image_std"),
        ({"clip__vision__image_std": [INTEGERS, INTEGERS]}, "image_std"),
        ({"clip__vision__embedding_length": 64}, "shape"),
        ({"clip__vision__patch_size": None}, "patch_size"),
    ],
)
def test_an_mmproj_file_of_another_kind_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    config = siglip()
    path = write_mmproj(tmp_path / "m.gguf", config, random_tower(config), **changes)
    with pytest.raises(UserError, match=says):
        load_siglip(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model_type": "qwen3_vl"},
            "model_type qwen3_vl is not supported; these are: llama, idefics3, smolvlm",
        ),
        ({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4}, "without a vision tower"),
        ({"vision_config": {"hidden_act": "quick_gelu"}}, "quick_gelu"),
        ({"vision_config": {"num_channels": 1}}, "1 colours"),
        ({"vision_config": []}, "not an object"),
        ({"vision_config": {"num_hidden_layers": (1 << 31) - 1}}, "at most 1000"),
        ({"text_config": {"model_type": "mistral"}}, "mistral"),
    ],
)
def test_a_directory_of_another_kind_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    config = siglip()
    stored = hugging_face_tensors(config, random_tower(config))
    path = write_tower_directory(tmp_path / "m", config, stored, settings(config, **changes))
    with pytest.raises(UserError, match=says):
        load_siglip(path)


def test_a_missing_and_an_unknown_tensor_are_named(tmp_path: Path) -> None:
    config = siglip()
    stored = hugging_face_tensors(config, random_tower(config))
    lacking = dict(stored)
    del lacking["model.vision_model.post_layernorm.bias"]
    with pytest.raises(UserError, match=r"final_norm\.bias"):
        load_siglip(write_tower_directory(tmp_path / "a", config, lacking))
    more = stored | {"model.vision_model.head.probe": np.ones((1, 1, 32), np.float32)}
    with pytest.raises(UserError, match=r"vision_model\.head\.probe"):
        load_siglip(write_tower_directory(tmp_path / "b", config, more))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    config = siglip()
    tensors = random_tower(config)
    tensors["final_norm.bias"][3] = np.nan
    weights = load_siglip(write_mmproj(tmp_path / "m.gguf", config, tensors))
    with pytest.raises(UserError, match=r"final_norm\.bias"):
        weights.floats("final_norm.bias")


def _other(match: re.Match[str]) -> str:
    return "ffn_down" if match[1] == "up" else "ffn_up"


def _random_q8_0(rows: int, inputs: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (rows, inputs // 32, 34), dtype=np.uint8)
    blocks[..., :2] = rng.uniform(0.01, 1, (rows, inputs // 32, 1)).astype("<f2").view(np.uint8)
    return blocks.reshape(rows, -1)
