"""The random models that figures of vision-language models are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.vlm import random_models
from models.formats.gguf.gguf_file import GgufFile
from models.formats.gguf.gguf_writer import TensorToWrite, write_gguf
from models.formats.llama_sources import load_llama

TINY = random_models.VlmShape(
    hidden=64,
    inner=128,
    layers=2,
    heads=4,
    kv_heads=2,
    tower_hidden=96,
    tower_inner=80,
    tower_layers=1,
    tower_heads=2,
    tile=32,
    patch=8,
    scale_factor=2,
    longest_edge=128,
)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a tiny shape, made with a vocabulary of three tokens."""
    vocabulary = tmp_path / "vocabulary.gguf"
    metadata = {
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.token_type": [1, 1, 1],
    }
    write_gguf(vocabulary, metadata, [])
    monkeypatch.setitem(random_models.SHAPES, "tiny", TINY)
    monkeypatch.setitem(random_models.LANGUAGE_TYPES, "tiny", ("Q8_0", "Q4_0"))
    random_models.write_missing(tmp_path / "models", "tiny", vocabulary)
    return tmp_path / "models"


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_language_model_is_a_whole_llama_with_weights_of_ordinary_size(written: Path, kind: str) -> None:
    weights = load_llama(random_models.language_file(written, "tiny", kind))
    assert weights.config.vocab_size == 49280
    assert weights.head is not None
    assert weights.layers[0].q.bits == (8 if kind == "Q8_0" else 4)
    assert weights.symmetric == (kind == "Q4_0")
    deviation = weights.layers[1].down.dequantise().std() * 128**0.5
    assert 0.7 < deviation < 1.4


def test_the_control_tokens_have_the_ids_of_the_published_models(written: Path) -> None:
    metadata = GgufFile(random_models.language_file(written, "tiny", "Q8_0")).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list) and len(tokens) == 49280
    assert tokens[:3] == ["a", "b", "ab"]
    assert tokens[49152] == "<global-img>"
    assert tokens[49153 + 6 * 2 + 3] == "<row_3_col_4>"
    assert tokens[49189] == "<fake_token_around_image>"
    assert tokens[49190] == "<image>"
    assert tokens[49279] == "<end_of_utterance>"
    assert len(set(map(str, tokens))) == len(tokens)


def test_rows_of_the_tower_that_do_not_divide_into_blocks_stay_floats(written: Path) -> None:
    tensors = GgufFile(random_models.mmproj_file(written, "tiny", "Q8_0")).tensors
    assert tensors["v.blk.0.ffn_down.weight"].type == "F16"  # 80 wide
    assert tensors["v.blk.0.ffn_up.weight"].type == "Q8_0"
    assert tensors["v.blk.0.ffn_up.weight"].shape == (80, 96)
    assert tensors["mm.model.fc.weight"].shape == (64, 96 * 4)
    assert tensors["v.position_embd.weight"].shape == (16, 96)


def test_a_tensor_of_the_wrong_size_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    wrong = TensorToWrite("x.weight", (2, 32), "Q8_0", lambda: np.zeros(67, np.uint8))
    with pytest.raises(ValueError, match="67 bytes instead of 68"):
        write_gguf(tmp_path / "wrong.gguf", {}, [wrong])
    assert list(tmp_path.glob("*.gguf")) == []
