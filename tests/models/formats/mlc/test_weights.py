"""MLC packages: 4-bit codes are those of Q4_0 exactly, floats give what other files give, damage is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.core.errors import UserError
from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LINEAR_ROLES, NORM_ROLES, LlamaWeights
from models.formats.mlc.package import MlcPackage
from models.formats.model_description import describe_config
from models.formats.quantization import QuantizedMatrix
from models.packing.packed_model import open_packed, write_packed
from tests.models.formats.gguf.gguf_files import Tensors, float_tensor, write_gguf
from tests.models.formats.llama_files import (
    HEAD_DIM,
    METADATA,
    SETTINGS,
    as_gguf,
    interleaved,
    random_model,
    write_directory,
)
from tests.models.formats.mlc.mlc_files import Arrays, mlc_settings, mlc_tensors, quantised_groups, write_mlc

FOUR_BITS = ("q4f16_1", "q4f32_1", "q4f16_0")
FLOATS = ("q0f16", "q0f32", "q0bf16")


def model_with_bfloat16_scales() -> Arrays:
    """Random weights in whose every group the largest is 7/4, so that scales are 1/4 in every float type."""
    model = {name: values / 2 if values.ndim == 2 else values for name, values in random_model().items()}
    for values in model.values():
        if values.ndim == 2:
            values[:, ::32] = 1.75
    return model


def write_package(path: Path, model: Arrays, quantisation: str, **changes: Any) -> Path:
    settings = mlc_settings(SETTINGS, quantisation, **changes)
    return write_mlc(path, settings, mlc_tensors(model, quantisation))


def as_q4_0(model: Arrays) -> Tensors:
    """The GGUF tensors whose blocks have the package's codes plus one."""
    tensors: dict[str, Any] = {}
    for (name, (_, shape, content)), values in zip(as_gguf(model).items(), model.values(), strict=True):
        if values.ndim == 1:
            tensors[name] = float_tensor(values, "F32")
            continue
        turned = np.frombuffer(content, "<f4").reshape(shape)
        codes, scale = quantised_groups(turned)
        groups = codes.reshape(len(codes), -1, 32) + 1
        packed = (groups[..., :16] | (groups[..., 16:] << 4)).astype(np.uint8)
        blocks = np.concatenate([scale[..., None].view(np.uint8), packed], axis=-1)
        tensors[name] = ("Q4_0", shape, blocks.tobytes())
    return tensors


def matrices(weights: LlamaWeights) -> dict[str, QuantizedMatrix]:
    assert weights.head is not None
    found = {"embedding": weights.embedding, "head": weights.head}
    for number, layer in enumerate(weights.layers):
        found |= {f"{number}.{role}": getattr(layer, role) for role in LINEAR_ROLES}
    return found


def check_same(one: LlamaWeights, other: LlamaWeights) -> None:
    for name, matrix in matrices(one).items():
        expected = matrices(other)[name]
        assert matrix.bits == expected.bits
        np.testing.assert_array_equal(matrix.codes, expected.codes, name)
        np.testing.assert_array_equal(matrix.scale, expected.scale, name)
        if expected.minimum is not None:
            np.testing.assert_array_equal(np.asarray(matrix.minimum), expected.minimum, name)
    for layer, expected_layer in zip(one.layers, other.layers, strict=True):
        for role in NORM_ROLES:
            np.testing.assert_array_equal(getattr(layer, role), getattr(expected_layer, role))
    np.testing.assert_array_equal(one.final_norm, other.final_norm)


@pytest.mark.parametrize("quantisation", FOUR_BITS)
def test_codes_of_4_bits_are_those_of_q4_0(tmp_path: Path, quantisation: str) -> None:
    model = model_with_bfloat16_scales()
    weights = load_llama(write_package(tmp_path / "mlc", model, quantisation))
    assert weights.layers[0].q.bits == 4
    check_same(weights, load_llama(write_gguf(tmp_path / "a.gguf", METADATA, as_q4_0(model))))


def test_the_packed_weights_are_those_of_the_q4_0_file(tmp_path: Path) -> None:
    model = model_with_bfloat16_scales()
    sources = {
        "mlc": write_package(tmp_path / "package", model, "q4f16_1"),
        "gguf": write_gguf(tmp_path / "a.gguf", METADATA, as_q4_0(model)),
    }
    packs = {}
    for name, path in sources.items():
        write_packed(tmp_path / name, "0" * 64, load_llama(path))
        packs[name] = open_packed(tmp_path / name, "0" * 64)
        assert packs[name] is not None
    mlc, gguf = packs["mlc"], packs["gguf"]
    assert mlc is not None and gguf is not None
    assert mlc.shape.symmetric
    assert mlc.sections.keys() == gguf.sections.keys()
    for name, section in mlc.sections.items():
        np.testing.assert_array_equal(section, gguf.sections[name], name)


@pytest.mark.parametrize("quantisation", FLOATS)
def test_floats_give_what_a_hugging_face_directory_gives(tmp_path: Path, quantisation: str) -> None:
    model = random_model()
    weights = load_llama(write_package(tmp_path / "mlc", model, quantisation))
    assert weights.layers[0].q.bits == 8
    check_same(weights, load_llama(write_directory(tmp_path / "hf", model)))


def test_values_are_scale_times_code_minus_seven(tmp_path: Path) -> None:
    model = random_model()
    q = load_llama(write_package(tmp_path / "mlc", model, "q4f16_1")).layers[1].q.dequantise()
    codes, scale = quantised_groups(model["model.layers.1.self_attn.q_proj.weight"])
    expected = (codes.reshape(len(codes), -1, 32).astype(np.float32) - 7) * scale.astype(np.float32)[
        ..., None
    ]
    np.testing.assert_array_equal(q, expected.reshape(q.shape))


def test_the_configuration_has_mlc_names(tmp_path: Path) -> None:
    config = load_llama(write_package(tmp_path / "mlc", random_model(), "q4f16_1")).config
    expected = load_llama(write_directory(tmp_path / "hf", random_model())).config
    assert config == expected
    assert (config.rope_theta, config.max_position_embeddings, config.head_dim) == (5000.0, 256, HEAD_DIM)


def test_without_a_head_the_embedding_is_the_head_and_old_tables_are_read(tmp_path: Path) -> None:
    model = random_model()
    del model["lm_head.weight"]
    settings = mlc_settings(SETTINGS, "q4f16_1")
    path = write_mlc(tmp_path / "m", settings, mlc_tensors(model, "q4f16_1"), table="ndarray-cache.json")
    weights = load_llama(path)
    assert weights.head is None
    assert weights.config.tie_word_embeddings
    assert weights.embedding.bits == 8


def test_the_digest_depends_on_the_shards(tmp_path: Path) -> None:
    one = load_llama(write_package(tmp_path / "a", random_model(), "q4f16_1")).digest
    assert load_llama(write_package(tmp_path / "b", random_model(), "q4f16_1")).digest == one
    assert load_llama(write_package(tmp_path / "c", model_with_bfloat16_scales(), "q4f16_1")).digest != one


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantization": "q3f16_1"}, "quantization q3f16_1 is not supported; these are: q4f16_1"),
        ({"model_type": "qwen2"}, "model_type qwen2"),
        ({"model_config": None}, "model_config"),
    ],
)
def test_other_packages_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = write_package(tmp_path / "m", random_model(), "q4f16_1")
    settings = mlc_settings(SETTINGS, "q4f16_1", **changes)
    (path / "mlc-chat-config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=says):
        load_llama(path)
    if changes.get("model_config", 1):
        with pytest.raises(UserError, match=says):
            describe_config(settings)


def test_scaled_rotary_embeddings_are_refused(tmp_path: Path) -> None:
    scaled = {**SETTINGS, "rope_scaling": {"rope_type": "llama3", "factor": 32.0}}
    path = write_mlc(tmp_path / "m", mlc_settings(scaled, "q0f16"), mlc_tensors(random_model(), "q0f16"))
    with pytest.raises(UserError, match="llama3"):
        load_llama(path)


def test_a_package_is_described_before_it_is_downloaded() -> None:
    four, eight = (describe_config(mlc_settings(SETTINGS, kind)) for kind in ("q4f16_1", "q0f16"))
    assert (four.family, four.vision, four.language.num_layers) == ("llama", None, 2)
    assert four.weight_bytes < eight.weight_bytes


def rewrite(path: Path, change: dict[str, Any], tensor: bool = False) -> None:
    """Change the first record of the table, or its first tensor."""
    table = path / "tensor-cache.json"
    content = json.loads(table.read_text())
    record = content["records"][0]
    (record["records"][0] if tensor else record).update(change)
    table.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "tensor", "says"),
    [
        ({"dataPath": "../params_shard_0.bin"}, False, "not trusted"),
        ({"dataPath": "/etc/passwd.bin"}, False, "not trusted"),
        ({"dataPath": "params_shard_1.bin"}, False, "bytes where"),
        ({"nbytes": 5}, False, "bytes where"),
        ({"md5sum": "0" * 32}, False, "md5"),
        ({"format": "zip"}, False, "zip"),
        ({"records": None}, False, "lacks"),
        ({"dtype": "int8"}, True, "int8"),
        ({"byteOffset": -4}, True, "outside"),
        ({"byteOffset": 1 << 40}, True, "outside"),
        ({"nbytes": 4}, True, "which is not what its shape"),
        ({"shape": [1, -2]}, True, "shape"),
        ({"shape": [1 << 40, 1 << 40]}, True, "which is not what its shape"),
        ({"name": 7}, True, "lacks"),
    ],
)
def test_a_damaged_table_is_refused_in_words(
    tmp_path: Path, change: dict[str, Any], tensor: bool, says: str
) -> None:
    path = write_package(tmp_path / "m", random_model(), "q4f16_1")
    rewrite(path, change, tensor)
    with pytest.raises(UserError, match=says):
        MlcPackage(path)


def test_damage_in_a_shard_is_noticed(tmp_path: Path) -> None:
    path = write_package(tmp_path / "m", random_model(), "q4f16_1")
    shard = path / "params_shard_1.bin"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match="md5"):
        load_llama(path)
    shard.unlink()
    with pytest.raises(UserError, match="incomplete"):
        load_llama(path)


def test_a_code_of_15_is_refused(tmp_path: Path) -> None:
    tensors = mlc_tensors(random_model(), "q4f16_1")
    name = "model.layers.0.self_attn.o_proj.q_weight"
    words = tensors[name][0].copy()
    words[0, 0] = struct.unpack("<I", b"\xff\x77\x77\x77")[0]
    path = write_mlc(tmp_path / "m", mlc_settings(SETTINGS, "q4f16_1"), {**tensors, name: (words, "uint32")})
    with pytest.raises(UserError, match=r"codes of 15 in layers\.0\.o"):
        load_llama(path).layers[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.layers.0.self_attn.qkv_proj.q_scale", "scales"),
        ("model.layers.1.mlp.gate_up_proj.q_weight", "neither weight nor q_weight"),
        ("model.norm.weight", "final_norm"),
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str, says: str) -> None:
    tensors = mlc_tensors(random_model(), "q4f16_1")
    del tensors[name]
    with pytest.raises(UserError, match=says):
        load_llama(write_mlc(tmp_path / "m", mlc_settings(SETTINGS, "q4f16_1"), tensors))


def test_an_unknown_tensor_and_joined_matrices_of_another_size_are_named(tmp_path: Path) -> None:
    tensors = mlc_tensors(random_model(), "q0f16")
    more = {**tensors, "model.layers.0.self_attn.qkv_proj.bias": (np.ones(4, np.float32), "float16")}
    settings = mlc_settings(SETTINGS, "q0f16")
    with pytest.raises(UserError, match=r"qkv_proj\.bias"):
        load_llama(write_mlc(tmp_path / "a", settings, more))
    name = "model.layers.0.self_attn.qkv_proj.weight"
    short = {**tensors, name: (tensors[name][0][:-16], "float16")}
    with pytest.raises(UserError, match=r"layers\.0\.[qkv] in the shape"):
        load_llama(write_mlc(tmp_path / "b", settings, short))


def test_the_helper_turns_rows_as_the_converter_to_gguf() -> None:
    values = np.arange(4 * HEAD_DIM, dtype=np.float32)[:, None].repeat(2, axis=1)
    assert interleaved(values)[:4, 0].tolist() == [0, HEAD_DIM // 2, 1, HEAD_DIM // 2 + 1]
