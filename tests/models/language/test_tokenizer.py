"""Tokens: text comes back, control tokens cannot be forged, characters are never shown in halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from models.hub.store import ModelFiles
from models.language.tokenizer import Tokenizer
from tests.models.formats.gguf.gguf_files import write_gguf

TEXTS = [
    "Hello, world!",
    "don't DON'T  two  spaces\n\n\ttabs \r\n ",
    "naïve café — Ünïcödé",
    "漢字かな 😀👩‍👩‍👧 ½ ² ٣",
    "a" * 300,
    "",
]


@pytest.fixture(scope="module")
def tokenizer(model_files: ModelFiles) -> Tokenizer:
    return Tokenizer.from_gguf(GgufFile(model_files.files["language_model"]))


def byte_alphabet() -> list[str]:
    """The 256 characters of a byte-level vocabulary."""
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def small_vocabulary() -> list[str]:
    return ["<|end|>", "<|start|>", *byte_alphabet(), "he", "Ġt", "12"]


SMALL: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": small_vocabulary(),
    "tokenizer.ggml.token_type": np.array([3, 3] + [1] * 259, "<i4"),
    "tokenizer.ggml.merges": ["h e", "Ġ t", "1 2"],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 0,
}


def small(path: Path, **changes: Any) -> Tokenizer:
    values = {key: value for key, value in (SMALL | changes).items() if value is not None}
    return Tokenizer.from_gguf(GgufFile(write_gguf(path / "a.gguf", values, {})))


def test_the_default_models_ids_are_those_of_other_implementations(tokenizer: Tokenizer) -> None:
    # as llama.cpp and the model's own tokenizer.json give them
    expected = [13764, 216, 33, 34, 35, 36, 37, 38, 39, 40, 41, 32, 284, 216, 36, 34, 30]
    assert tokenizer.encode("Sum 1234567890 and 42.", special=False) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_encoding_and_decoding(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text, special=False)) == text


@pytest.mark.parametrize(
    "text",
    [
        "line 17: boats and gulls, 12.5 km\n" * 3000,
        "a  b   c\td \n e'll " * 6000,
        "Ünïcödé 日本 🎈 " * 8000,
    ],
)
def test_a_long_text_in_parts_has_the_tokens_of_the_whole(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text, special=False, most=10**9) == tokenizer.encode(text, special=False)


@pytest.mark.parametrize("text", ["boats and gulls " * 100_000, "b" * 1_000_000])
def test_only_so_much_of_a_text_that_is_too_long_is_encoded(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, special=False, most=1000)
    assert 1000 < len(ids) < 40_000
    assert text.startswith(tokenizer.decode(ids))


def test_special_ids_are_known(tokenizer: Tokenizer) -> None:
    assert tokenizer.special["<|im_start|>"] == 1
    assert tokenizer.eos_id == tokenizer.special["<|im_end|>"] == 2
    assert tokenizer.end_ids == {0, 2}
    assert len(tokenizer) == 49152


def test_a_template_text_gives_control_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n", special=True)
    assert ids == [1, *tokenizer.encode("user\nHi", special=False), 2, *tokenizer.encode("\n", special=False)]
    assert tokenizer.decode(ids) == "user\nHi\n"


# SmolLM2's vocabulary lacks bytes that no usual text has; what holds them comes back without.
usual_text = st.text(st.characters(max_codepoint=0x1FFFF, exclude_categories=["Cc", "Cs", "Cn", "Co"]))


@given(
    st.lists(
        st.sampled_from(["<|im_end|>", "<|im_start|>", "<|", "|>", "im_end", "<|endoftext|>"]) | usual_text
    )
)
def test_no_user_text_becomes_a_control_token(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    ids = tokenizer.encode(text, special=False)
    assert not set(ids) & set(tokenizer.special.values())
    assert tokenizer.decode(ids) == text


def test_bytes_that_the_vocabulary_lacks_are_left_out(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\x16b", special=False)) == "ab"


def test_lone_surrogates_become_question_marks(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b", special=False)) == "a?b"


@given(usual_text)
def test_a_stream_never_shows_half_a_character(tokenizer: Tokenizer, text: str) -> None:
    stream = tokenizer.stream()
    pieces = [stream.feed(number) for number in tokenizer.encode(text, special=False)]
    assert "".join(pieces) == text
    assert stream.flush() == ""
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_an_answer_cut_inside_a_character_ends_in_the_replacement_character(tmp_path: Path) -> None:
    tokenizer = small(tmp_path)
    ids = tokenizer.encode("aé", special=False)
    stream = tokenizer.stream()
    assert [stream.feed(number) for number in ids[:2]] == ["a", ""]
    assert stream.flush() == "\ufffd"
    assert tokenizer.decode([ids[1], ids[0]]) == "\ufffda"


def test_digits_are_cut_apart_only_when_the_model_wants_it(tmp_path: Path) -> None:
    assert small(tmp_path).encode("12", special=False) != [260]
    plain = small(tmp_path, **{"tokenizer.ggml.pre": "gpt-2"})
    assert plain.encode("12", special=False) == [260]
    assert small(tmp_path, **{"tokenizer.ggml.pre": None}).encode("12", special=False) == [260]


def test_user_defined_tokens_are_plain_text_that_stays_whole(tmp_path: Path) -> None:
    kinds = np.array([3, 3] + [1] * 259 + [4], "<i4")
    changes = {"tokenizer.ggml.tokens": [*small_vocabulary(), "<think>"], "tokenizer.ggml.token_type": kinds}
    tokenizer = small(tmp_path, **changes)
    assert tokenizer.encode("<think>he", special=False) == [261, 258]
    assert tokenizer.decode([261, 258]) == "<think>he"


def test_unknown_ids_have_no_text(tmp_path: Path) -> None:
    assert small(tmp_path).decode([0, 1, 5000]) == ""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokenizer.ggml.model": "llama"}, "'llama'"),
        ({"tokenizer.ggml.model": None}, "None"),
        ({"tokenizer.ggml.pre": "tekken"}, "tekken"),
        ({"tokenizer.ggml.merges": None}, "merges"),
        ({"tokenizer.ggml.merges": ["he"]}, "damaged"),
        ({"tokenizer.ggml.merges": ["x yzzy"]}, "damaged"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "damaged"),
        ({"tokenizer.ggml.token_type": np.array([1], "<i4")}, "control tokens"),
        ({"tokenizer.ggml.token_type": None}, "control tokens"),
        ({"tokenizer.ggml.eos_token_id": 9999}, "eos_token_id"),
    ],
)
def test_tokenizers_of_other_kinds_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        small(tmp_path, **changes)


def directory_of(path: Path) -> Path:
    """The small vocabulary as a Hugging Face directory, written by the tokenizers package."""
    vocabulary = {text: index for index, text in enumerate(small_vocabulary()[2:])}
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("h", "e"), ("Ġ", "t"), ("1", "2")]))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    bpe.add_special_tokens(["<|start|>", "<|end|>"])
    bpe.add_tokens(["<think>"])
    path.mkdir(exist_ok=True)
    bpe.save(str(path / "tokenizer.json"))
    settings = {"bos_token": "<|start|>", "eos_token": {"content": "<|end|>"}}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def test_a_tokenizer_json_gives_the_same(tmp_path: Path) -> None:
    path = directory_of(tmp_path / "m")
    tokenizer = Tokenizer.from_directory(path)
    reference = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    text = "<|start|>the 12 <think> thé<|end|>"
    assert tokenizer.encode(text, special=True) == reference.encode(text).ids
    assert (tokenizer.bos_id, tokenizer.eos_id) == (259, 260)
    assert tokenizer.end_ids == {260}
    assert len(tokenizer) == 262
    plain = tokenizer.encode(text, special=False)
    assert not {259, 260} & set(plain)
    assert tokenizer.decode(plain) == text
    assert tokenizer.decode(tokenizer.encode(text, special=True)) == "the 12 <think> thé"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"model": {"type": "Unigram"}, "decoder": {"type": "Metaspace"}}', "[" * 100_000],
    ids=["empty", "list", "object", "unigram", "deep"],
)
def test_another_tokenizer_json_is_refused(tmp_path: Path, content: str) -> None:
    path = directory_of(tmp_path / "m")
    (path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer.from_directory(path)


def test_a_byte_level_tokenizer_json_with_damaged_parts_is_refused(tmp_path: Path) -> None:
    path = directory_of(tmp_path / "m")
    content = json.loads((path / "tokenizer.json").read_text())
    for key, value in {"model": {"type": "BPE", "vocab": 3}, "added_tokens": [{"content": "x"}]}.items():
        (path / "tokenizer.json").write_text(json.dumps(content | {key: value}))
        with pytest.raises(UserError, match="cannot be read"):
            Tokenizer.from_directory(path)


def test_a_blank_of_the_template_and_the_word_after_it_are_one_token(tmp_path: Path) -> None:
    tokenizer = small(tmp_path)
    together = tokenizer.encode_joined([("<|start|>a: ", True), ("the", False), ("<|end|>", True)])
    assert together == tokenizer.encode("<|start|>a: the<|end|>", special=True)
    assert tokenizer.encode(" t", special=False)[0] in together


def test_pieces_never_join_to_a_control_token(tmp_path: Path) -> None:
    ids = small(tmp_path).encode_joined([("<|st", True), ("art|>", False), ("<|start|>", False)])
    assert not {0, 1} & set(ids)


def test_docling_models_cut_text_as_gpt2_does(tmp_path: Path) -> None:
    whole = small(tmp_path, **{"tokenizer.ggml.pre": "granite-docling"}).encode("12", special=False)
    assert whole == [260]


def test_an_answer_in_markup_is_shown_and_its_control_tokens_are_not(tmp_path: Path) -> None:
    texts = [*small_vocabulary(), "<doctag>", "<loc_39>", "<image>", "<row_1_col_2>", "<|unused_1|>"]
    types = np.array([3, 3] + [1] * 259 + [3] * 5, "<i4")
    changes = {"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": types}
    tokenizer = small(tmp_path, **changes)
    assert tokenizer.decode([1, 261, 262, 263, 264, 265, 0]) == "<doctag><loc_39>"
    assert not {261, 262} & set(tokenizer.encode("<doctag><loc_39>", special=False))


def test_control_tokens_have_no_text_in_models_without_markup(tmp_path: Path) -> None:
    texts = [*small_vocabulary(), "<loc_39>"]
    types = np.array([3, 3] + [1] * 259 + [3], "<i4")
    tokenizer = small(tmp_path, **{"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": types})
    assert tokenizer.decode([261]) == ""


def test_a_gguf_file_may_name_more_tokens_that_end_an_answer(tmp_path: Path) -> None:
    assert small(tmp_path, **{"tokenizer.ggml.eot_token_id": 1}).end_ids == {0, 1}


@pytest.mark.parametrize(("written", "ends"), [(1, {0, 1}), ([1, 0], {0, 1}), (None, {0})])
def test_a_directory_names_the_ends_in_its_generation_settings(
    tmp_path: Path, written: object, ends: set[int]
) -> None:
    bpe = tokenizers.Tokenizer(
        tokenizers.models.BPE({text: i for i, text in enumerate(byte_alphabet(), 2)}, [])
    )
    bpe.decoder = tokenizers.decoders.ByteLevel()
    content = json.loads(bpe.to_str())
    names = enumerate(("<|end|>", "<|start|>"))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{"id": i, "content": name, "special": True, **flags} for i, name in names]
    content["model"]["vocab"] |= {"<|end|>": 0, "<|start|>": 1}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": written}))
    assert Tokenizer.from_directory(tmp_path).end_ids == ends
