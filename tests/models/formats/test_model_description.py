"""What a model is and needs is known from its configuration, before any weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from models.formats.llama_sources import load_llama
from models.formats.model_description import describe_config, describe_gguf
from models.packing.packed_model import open_packed, write_packed
from tests.models.formats.gguf.gguf_files import write_gguf
from tests.models.formats.llama_files import METADATA, as_gguf, random_model
from tests.models.formats.siglip_files import (
    mmproj_metadata,
    mmproj_tensors,
    random_tower,
    siglip,
    write_mmproj,
)

# The settings of SmolVLM-500M that its published config.json has, in substance.
SMOLVLM_500M: dict[str, Any] = {
    "model_type": "idefics3", "scale_factor": 4, "tie_word_embeddings": False,
    "text_config": {
        "model_type": "llama", "hidden_size": 960, "intermediate_size": 2560, "num_attention_heads": 15,
        "num_key_value_heads": 5, "vocab_size": 49280, "rope_theta": 100000, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-05, "tie_word_embeddings": True,
    },
    "vision_config": {"hidden_size": 768, "image_size": 512, "num_attention_heads": 12, "patch_size": 16},
}  # fmt: skip


def test_a_vision_language_model_is_described_with_the_defaults_filled_in() -> None:
    model = describe_config(SMOLVLM_500M)
    assert model.family == "idefics3"
    assert (model.language.num_layers, model.language.head_dim, model.language.rope_theta) == (32, 64, 1e5)
    assert model.vision is not None
    assert (model.vision.layers, model.vision.inner, model.vision.rows) == (12, 3072, 64)
    assert not model.language.tie_word_embeddings  # the setting at the top counts
    embedding, tower = 49280 * 960, model.vision.parameters
    assert 500e6 < (model.weight_bytes - tower / 16) / (17 / 16) - embedding < 510e6  # it has 16 bits
    cache = 32 * 2 * 5 * 64 * 4096 * 2
    assert model.weight_bytes + cache < model.memory(4096) < model.weight_bytes + cache + 200e6


def test_a_language_model_of_its_own_has_no_vision_tower() -> None:
    model = describe_config(SMOLVLM_500M["text_config"])
    assert (model.family, model.vision, model.language.tie_word_embeddings) == ("llama", None, True)


def test_memory_is_bounded_by_the_positions_that_the_model_has() -> None:
    model = describe_config(SMOLVLM_500M)
    assert model.memory(8192) == model.memory(100_000) > model.memory(4096)


def test_rope_parameters_take_the_place_of_rope_theta() -> None:
    text = {key: value for key, value in SMOLVLM_500M["text_config"].items() if key != "rope_theta"}
    text["rope_parameters"] = {"rope_theta": 273768.0, "rope_type": "default"}
    assert describe_config(SMOLVLM_500M | {"text_config": text}).language.rope_theta == 273768.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model_type": "qwen3_vl"},
            "model_type qwen3_vl is not supported; these are: llama, idefics3, smolvlm",
        ),
        ({"model_type": None}, "model_type None"),
        ({"text_config": {"model_type": "llama", "attention_bias": True}}, "attention_bias"),
        ({"text_config": {"model_type": "llama", "qk_layer_norms": True}}, "qk_layer_norms"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, r"quantization_config \(bitsandbytes\)"),
        ({"quantization_config": "awq"}, "quantization_config that is not an object"),
        ({"text_config": {"quantization_config": {"bits": 4}}}, r"quantization_config \(unnamed\)"),
        ({"text_config": {"rope_scaling": {"rope_type": "llama3"}}}, "llama3"),
        ({"text_config": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"text_config": {"hidden_size": "960"}}, "hidden_size"),
        ({"text_config": SMOLVLM_500M["text_config"] | {"head_dim": 8}}, "head_dim 8"),
        ({"text_config": SMOLVLM_500M["text_config"] | {"num_key_value_heads": 4}}, "do not divide"),
        ({"vision_config": {"patch_size": 1000, "image_size": 512}}, "0 patches"),
        ({"vision_config": {"hidden_size": 770}}, "770 wide"),
        ({"vision_config": {"hidden_size": 768, "num_attention_heads": 64}}, "heads 12 wide"),
        ({"text_config": {"rope_parameters": "default"}}, "rope_parameters that is not an object"),
        ({"text_config": {"num_hidden_layers": (1 << 31) - 1}}, "at most 1000"),
        ({"vision_config": {"num_hidden_layers": (1 << 31) - 1}}, "at most 1000"),
    ],
)
def test_what_cannot_run_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        describe_config(SMOLVLM_500M | changes)


@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_the_size_is_that_of_the_packed_weights(tmp_path: Path, kind: str) -> None:
    """Also where one layer of a role has more bits than the others, as in Q4_K_M."""
    rng = np.random.default_rng(1)
    model = random_model()
    tensors = dict(as_gguf(model))
    for name, (_, shape, _content) in list(tensors.items()):
        if len(shape) == 2 and kind == "Q4_0" and name != "blk.1.ffn_down.weight":
            blocks = rng.integers(0, 99, (shape[0], shape[1] // 32, 18), dtype=np.uint8)
            tensors[name] = ("Q4_0", shape, blocks.tobytes())
    path = write_gguf(tmp_path / "a.gguf", METADATA, tensors)
    described = describe_gguf(GgufFile(path))
    for precision, size in (("int8", described.weight_bytes), ("float", described.float_bytes)):
        packed = tmp_path / f"{precision}.pack"
        write_packed(packed, "0" * 64, load_llama(path, precision=precision))
        opened = open_packed(packed, "0" * 64)
        assert opened is not None
        assert sum(section.nbytes for section in opened.sections.values()) == size


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXT_KEYS = [
    "hidden_size",
    "num_attention_heads",
    "rope_parameters",
    "rope_scaling",
    "hidden_act",
    "head_dim",
    "x",
]
TOP_KEYS = [
    "text_config",
    "vision_config",
    "scale_factor",
    "tie_word_embeddings",
    "quantization",
    "model_config",
]


@given(
    kind=st.sampled_from(["llama", "idefics3", "smolvlm"]),
    top=st.dictionaries(st.sampled_from(TOP_KEYS), JSON),
    text=st.dictionaries(st.sampled_from(TEXT_KEYS), JSON),
)
def test_any_settings_are_described_or_refused_never_a_crash(
    kind: str, top: dict[str, Any], text: dict[str, Any]
) -> None:
    for settings in (
        {**text, **top},
        {**top, "text_config": text},
        {"quantization": "q4f16_1", "model_config": text},
    ):
        try:
            described = describe_config({"model_type": kind, **settings})
        except UserError:
            continue
        assert described.memory() > 0


def test_gguf_files_are_described(tmp_path: Path) -> None:
    language = GgufFile(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(random_model())))
    alone = describe_gguf(language)
    assert (alone.family, alone.language.hidden_size) == ("llama", 64)
    config = siglip()
    mmproj = GgufFile(write_mmproj(tmp_path / "m.gguf", config, random_tower(config)))
    both = describe_gguf(language, mmproj)
    assert both.family == "idefics3"
    assert both.weight_bytes - alone.weight_bytes == pytest.approx(config.parameters * 9 / 8, abs=1)
    with pytest.raises(UserError, match="only llama"):
        describe_gguf(mmproj)


def test_an_mmproj_file_of_another_model_is_refused(tmp_path: Path) -> None:
    language = GgufFile(write_gguf(tmp_path / "a.gguf", METADATA, as_gguf(random_model())))
    config = siglip(text_hidden=96)
    mmproj = GgufFile(write_mmproj(tmp_path / "m.gguf", config, random_tower(config)))
    with pytest.raises(UserError, match=r"rows of 96 numbers.*reads 64"):
        describe_gguf(language, mmproj)


def test_gguf_files_without_all_tensors_are_refused_by_their_headers(tmp_path: Path) -> None:
    tensors = as_gguf(random_model())
    language = GgufFile(write_gguf(tmp_path / "a.gguf", METADATA, tensors))
    with pytest.raises(UserError, match="holds 0 tensors; it is incomplete"):
        describe_gguf(GgufFile(write_gguf(tmp_path / "none.gguf", METADATA | {"llama.vocab_size": 48}, {})))
    cut = {name: tensor for name, tensor in tensors.items() if name != "output_norm.weight"}
    with pytest.raises(UserError, match="lacks the tensor for final_norm"):
        describe_gguf(GgufFile(write_gguf(tmp_path / "cut.gguf", METADATA, cut)))
    config = siglip()
    tower = mmproj_tensors(config, random_tower(config))
    del tower["v.post_ln.bias"]
    mmproj = GgufFile(write_gguf(tmp_path / "m.gguf", mmproj_metadata(config), tower))
    with pytest.raises(UserError, match=r"lacks the tensor for final_norm\.bias"):
        describe_gguf(language, mmproj)
