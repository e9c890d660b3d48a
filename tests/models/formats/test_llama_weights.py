"""Llama weights: GGUF and Hugging Face give the same model; what cannot be computed is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from models.core.errors import UserError
from models.core.files import file_digest
from models.formats import llama_weights
from models.formats.gguf.gguf_blocks import from_q4_1
from models.formats.gguf.gguf_file import GgufFile
from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LINEAR_ROLES
from models.hub.store import ModelFiles
from tests.models.formats.gguf.gguf_files import write_gguf
from tests.models.formats.llama_files import (
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INNER,
    INTEGERS,
    LAYERS,
    METADATA,
    SETTINGS,
    as_gguf,
    check_model,
    random_model,
    write_directory,
)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_a_gguf_file_gives_the_original_rows_in_hugging_face_order(tmp_path: Path, kind: str) -> None:
    model = random_model()
    tensors = as_gguf(model, dict.fromkeys(["blk.0.attn_q", "blk.1.ffn_down", "output"], kind))
    path = write_gguf(tmp_path / "a.gguf", METADATA, tensors)
    weights = load_llama(path)
    check_model(weights, model)
    assert weights.digest == file_digest(path)
    assert weights.config.head_dim == HEAD_DIM
    assert weights.config.rope_theta == 5000.0
    assert not weights.config.tie_word_embeddings


def test_a_hugging_face_directory_gives_the_same_model(tmp_path: Path) -> None:
    model = random_model()
    weights = load_llama(write_directory(tmp_path / "m", model))
    check_model(weights, model)
    from_gguf = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(model)))
    assert weights.config.rms_norm_eps == pytest.approx(from_gguf.config.rms_norm_eps)
    assert weights.config.num_kv_heads == from_gguf.config.num_kv_heads


@pytest.mark.parametrize(
    ("prefix", "kept"), [("model.text_model.", "model."), ("text_model.model.", "model."), ("", "model.")]
)
def test_the_language_model_is_found_under_each_prefix(tmp_path: Path, prefix: str, kept: str) -> None:
    model = random_model()
    stored = {name.replace(kept, prefix, 1): values for name, values in model.items()}
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(HEAD_DIM // 2, np.float32)
    check_model(load_llama(write_directory(tmp_path / "m", stored)), model)


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_the_language_model_of_a_vision_language_model_is_read(tmp_path: Path, kind: str) -> None:
    model = random_model()
    stored = {name.replace("model.", "model.text_model.", 1): values for name, values in model.items()}
    stored["model.vision_model.post_layernorm.bias"] = np.ones(4, np.float32)
    stored["model.connector.modality_projection.proj.weight"] = np.ones((4, 4), np.float32)
    text = {key: value for key, value in SETTINGS.items() if key != "tie_word_embeddings"}
    path = write_directory(tmp_path / "m", stored)
    settings = {"model_type": kind, "text_config": text | {"tie_word_embeddings": True}}
    (path / "config.json").write_text(json.dumps(settings))
    check_model(load_llama(path), model)  # the head too: tie_word_embeddings counts at the top alone
    (path / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": True}))
    assert load_llama(path).head is None


def test_a_model_without_a_head_is_tied_unless_it_says_that_it_is_not(tmp_path: Path) -> None:
    model = random_model()
    del model["lm_head.weight"]
    assert load_llama(write_directory(tmp_path / "m", model, tie_word_embeddings=None)).head is None
    with pytest.raises(UserError, match="lacks the tensor for head"):
        load_llama(write_directory(tmp_path / "m", model, tie_word_embeddings=False))


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    model = random_model()
    path = write_directory(tmp_path / "m", model)
    (path / "model.safetensors").unlink()
    names = sorted(model)
    shards = {"a.safetensors": names[:7], "b.safetensors": names[7:]}
    for shard, chosen in shards.items():
        safetensors.numpy.save_file({name: model[name] for name in chosen}, path / shard)
    index = path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {n: shard for shard, chosen in shards.items() for n in chosen}})
    )
    check_model(load_llama(path), model)
    index.write_text(json.dumps({"weight_map": {names[0]: "../a.safetensors"}}))
    with pytest.raises(UserError, match="outside"):
        load_llama(path)


def test_the_digest_changes_with_the_weights_and_is_used_as_given(tmp_path: Path) -> None:
    model = random_model()
    path = write_directory(tmp_path / "m", model)
    before = load_llama(path).digest
    assert load_llama(path).digest == before
    assert load_llama(path, "given").digest == "given"
    model["model.norm.weight"][0] += 1
    write_directory(path, model)
    assert load_llama(path).digest != before


def test_a_tied_model_has_no_head(tmp_path: Path) -> None:
    model = random_model()
    assert load_llama(write_directory(tmp_path / "m", model, tie_word_embeddings=True)).head is None
    del model["lm_head.weight"]
    weights = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(model)))
    assert weights.head is None
    assert weights.config.tie_word_embeddings


def test_layers_are_read_anew_each_time(tmp_path: Path) -> None:
    weights = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(random_model())))
    assert weights.layers[0].up.codes is not weights.layers[0].up.codes
    np.testing.assert_array_equal(weights.layers[-1].up.codes, weights.layers[1].up.codes)
    assert len(weights.layers[0:5]) == LAYERS
    with pytest.raises(IndexError):
        weights.layers[LAYERS]


def quantised(kind: str, shape: tuple[int, int]) -> tuple[str, tuple[int, int], bytes]:
    width = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}[kind]
    rng = np.random.default_rng(len(kind) + shape[0])
    blocks = rng.integers(0, 256, (shape[0], shape[1] // 32, width), dtype=np.uint8)
    blocks[..., :2] = np.array([0.25], "<f2").view(np.uint8)
    if kind == "Q4_1":
        blocks[..., 2:4] = np.array([-2.0], "<f2").view(np.uint8)
    return kind, shape, blocks.tobytes()


def mixed_widths() -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """The tensors of a model of two layers that differ in the types of "down" and "gate", but not of "up"."""
    tensors = dict(as_gguf(random_model()))
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.ffn_up.weight"] = quantised("Q4_1", (INNER, HIDDEN))
    tensors["blk.0.ffn_down.weight"] = quantised("Q4_0", (HIDDEN, INNER))
    tensors["blk.1.ffn_down.weight"] = quantised("Q8_0", (HIDDEN, INNER))
    tensors["blk.0.ffn_gate.weight"] = quantised("Q4_1", (INNER, HIDDEN))
    return tensors


def test_each_layer_keeps_its_width(tmp_path: Path) -> None:
    weights = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, mixed_widths()))
    first, second = weights.layers
    assert (first.up.bits, second.up.bits) == (4, 4)
    assert (first.down.bits, second.down.bits) == (4, 8)
    assert (first.gate.bits, second.gate.bits) == (4, 8)
    wide = dict(zip(LINEAR_ROLES, weights.wide_layers, strict=True))
    assert {role: mask for role, mask in wide.items() if mask} == {"down": 0b10, "gate": 0b10}


def test_one_width_a_role_over_more_layers_than_an_integer_has_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_weights, "MIXED_LAYERS", LAYERS - 1)
    tensors = mixed_widths()
    weights = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, tensors))
    assert weights.wide_layers == ()
    first, second = weights.layers
    assert (first.up.bits, second.up.bits) == (4, 4)
    assert (first.down.bits, second.down.bits) == (8, 8)
    assert (first.gate.bits, second.gate.bits) == (8, 8)
    codes = np.frombuffer(tensors["blk.0.ffn_up.weight"][2], np.uint8).reshape(INNER, -1)
    np.testing.assert_array_equal(first.up.dequantise(), from_q4_1(codes).dequantise())
    blocks = np.frombuffer(tensors["blk.0.ffn_down.weight"][2], np.uint8).reshape(HIDDEN, -1, 18)
    low = (blocks[..., 2:] & 15).astype(np.float32) - 8
    np.testing.assert_array_equal(first.down.dequantise().reshape(HIDDEN, -1, 32)[..., :16], low * 0.25)


def test_a_quantised_q_is_put_in_order_with_its_scales(tmp_path: Path) -> None:
    tensors = dict(as_gguf(random_model()))
    kind, shape, content = quantised("Q8_0", (HEADS * HEAD_DIM, HIDDEN))
    rows = np.frombuffer(content, np.uint8).reshape(shape[0], -1).copy()
    rows[:, :2] = (np.arange(shape[0]) + 1).astype("<f2")[:, None].view(np.uint8)  # the scale tells the row
    for layer in range(LAYERS):
        tensors[f"blk.{layer}.attn_q.weight"] = (kind, shape, rows.tobytes())
    q = load_llama(write_gguf(tmp_path / "a.gguf", METADATA, tensors)).layers[0].q
    half = HEAD_DIM // 2
    first_head = [2 * i + 1 for i in range(half)] + [2 * i + 2 for i in range(half)]
    np.testing.assert_array_equal(q.scale[:HEAD_DIM, 0], first_head)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"general.architecture": "qwen2"}, "qwen2"),
        ({"llama.rope.scaling.type": "linear"}, "rotary"),
        ({"llama.expert_count": 8}, "llama.expert_count"),
        ({"llama.attention.sliding_window": 128}, "sliding_window"),
        ({"llama.rope.dimension_count": 8}, "llama.rope.dimension_count"),
        ({"llama.block_count": 3}, "3 layers"),
        ({"llama.block_count": 900}, "incomplete"),
        ({"llama.block_count": 1 << 30}, "at most 1000"),
        ({"general.architecture": INTEGERS}, "general.architecture .* a single value"),
        ({"llama.expert_count": INTEGERS}, "llama.expert_count .* a single value"),
        ({"llama.rope.scaling.type": INTEGERS}, "llama.rope.scaling.type .* a single value"),
        ({"llama.rope.scale_linear": INTEGERS}, "llama.rope.scale_linear .* a single value"),
        ({"llama.block_count": "2"}, "llama.block_count"),
        ({"llama.attention.head_count": 0}, "head_count"),
        ({"llama.attention.head_count_kv": 3}, "divide"),
        ({"llama.feed_forward_length": 128}, "shape"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon"),
    ],
)
def test_gguf_models_of_other_kinds_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write_gguf(tmp_path / "a.gguf", METADATA | changes, as_gguf(random_model()))
    with pytest.raises(UserError, match=says):
        load_llama(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "mistral"}, "mistral"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
        ({"rope_parameters": "default"}, "rope_parameters that is not an object"),
        ({"num_hidden_layers": (1 << 31) - 1}, "at most 1000"),
        ({"quantization_config": {"bits": 4, "quant_method": "gptq"}}, r"quantization_config \(gptq\)"),
        ({"num_hidden_layers": 1}, "model.layers.1|layers.1"),
        ({"vocab_size": None}, "embedding in the shape"),
        ({"hidden_size": 64.5}, "hidden_size"),
        ({"head_dim": 8, "num_attention_heads": 8, "num_key_value_heads": 4}, "head_dim 8"),
        ({"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16}, "head_dim 48"),
    ],
)
def test_hugging_face_models_of_other_kinds_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write_directory(tmp_path / "m", random_model(), **changes)
    with pytest.raises(UserError, match=says):
        load_llama(path)


@pytest.mark.parametrize(
    "extra", ["model.layers.0.self_attn.q_proj.bias", "rope_freqs.weight", "model.layers.0.lm_head.weight"]
)
def test_a_tensor_that_a_llama_does_not_have_is_refused(tmp_path: Path, extra: str) -> None:
    model = random_model() | {extra: np.zeros(HIDDEN, np.float32)}
    with pytest.raises(UserError, match=extra):
        load_llama(write_directory(tmp_path / "m", model))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    model = random_model()
    del model["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(UserError, match=r"layers\.1\.up"):
        load_llama(write_directory(tmp_path / "m", model))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_norms_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    model = random_model()
    model["model.norm.weight"][3] = value
    with pytest.raises(UserError, match="not finite in final_norm"):
        load_llama(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(model)))
    for role, name in (("input", "attention_norm"), ("post_attention", "mlp_norm")):
        model = random_model()
        model[f"model.layers.1.{role}_layernorm.weight"][3] = value
        weights = load_llama(write_directory(tmp_path / role, model))
        with pytest.raises(UserError, match=rf"not finite in layers\.1\.{name}"):
            weights.layers[1]


def test_newer_configurations_keep_theta_under_rope_parameters(tmp_path: Path) -> None:
    changes = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 777.0}}
    assert load_llama(write_directory(tmp_path / "m", random_model(), **changes)).config.rope_theta == 777.0


def test_the_default_model_keeps_its_published_codes(model_files: ModelFiles) -> None:
    path = model_files.files["language_model"]
    weights = load_llama(path, model_files.digests["language_model"])
    assert weights.digest == file_digest(path)
    layer = weights.layers[17]
    assert {matrix.bits for matrix in (layer.q, layer.k, layer.v, layer.o, layer.down)} == {4}
    assert (weights.embedding.bits, weights.embedding.shape) == (8, (49152, 576))
    raw = GgufFile(path).blocks("blk.17.ffn_down.weight")[3]
    scale, minimum = np.frombuffer(raw[:4].tobytes(), "<f2").astype(np.float32)
    by_hand = [scale * (byte & 15) + minimum for byte in raw[4:20]]
    np.testing.assert_array_equal(layer.down.dequantise()[3, :16], np.array(by_hand, np.float32))
