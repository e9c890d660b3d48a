"""The cache of GGUF metadata: the values of the file, and never those of another file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.formats.gguf.gguf_file import GgufFile
from models.formats.gguf.gguf_metadata import load_or_read_metadata, open_metadata
from models.hub.store import ModelFiles
from models.language.templates.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer
from tests.models.formats.gguf.gguf_files import write_gguf

DIGEST = "a" * 64

NUMBERS = st.integers(0, 2**32 - 1) | st.booleans() | st.floats(width=32, allow_nan=False)
METADATA = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20),
    NUMBERS | st.text(max_size=20) | st.lists(st.text(max_size=5), min_size=1, max_size=5),
    max_size=8,
)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@settings(max_examples=40)  # each writes two files through to the disk
@given(METADATA)
def test_values_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("metadata")
    weights = write_gguf(folder / "a.gguf", values, {})
    first = load_or_read_metadata(weights, DIGEST, folder / "kept")
    weights.unlink()
    again = load_or_read_metadata(weights, DIGEST, folder / "kept")
    assert dict(first.metadata) == dict(again.metadata)


def test_a_model_reads_the_same_with_and_without(model_files: ModelFiles, tmp_path: Path) -> None:
    weights = model_files.files["language_model"]
    load_or_read_metadata(weights, DIGEST, tmp_path)
    kept, file = load_or_read_metadata(weights, DIGEST, tmp_path), GgufFile(weights)
    text = "Ça va, <|im_start|> 1234 x²?\n\tyes"
    for special in (True, False):
        there = Tokenizer.from_gguf(kept).encode(text, special=special)
        assert there == Tokenizer.from_gguf(file).encode(text, special=special)
    ours, theirs = Tokenizer.from_gguf(kept), Tokenizer.from_gguf(file)
    assert (ours.special, ours.end_ids, ours.bos_id) == (theirs.special, theirs.end_ids, theirs.bos_id)
    assert isinstance(ChatTemplate.from_gguf(kept), ChatTemplate)
    kinds = kept.metadata["tokenizer.ggml.token_type"]
    assert isinstance(kinds, np.ndarray) and kinds.dtype == np.int32


@pytest.mark.parametrize("at", [0, 20, 60, 4096, -1])
def test_a_damaged_copy_counts_as_missing_and_is_written_again(tmp_path: Path, at: int) -> None:
    weights = write_gguf(tmp_path / "a.gguf", {"name": "x", "words": ["a", "b"]}, {})
    load_or_read_metadata(weights, DIGEST, tmp_path / "kept")
    copy = only_file(tmp_path / "kept")
    whole = copy.read_bytes()
    content = bytearray(whole)
    content[at] ^= 0xFF
    copy.write_bytes(content)
    assert open_metadata(copy, DIGEST) is None
    load_or_read_metadata(weights, DIGEST, tmp_path / "kept")
    assert copy.read_bytes() == whole


def test_a_copy_of_other_weights_counts_as_missing(tmp_path: Path) -> None:
    weights = write_gguf(tmp_path / "a.gguf", {"name": "x"}, {})
    load_or_read_metadata(weights, DIGEST, tmp_path / "kept")
    assert open_metadata(only_file(tmp_path / "kept"), "b" * 64) is None
