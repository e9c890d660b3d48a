"""Which files of a repository or folder are taken."""

from __future__ import annotations

import pytest

from models.core.errors import UserError
from models.hub.selection import select

DIRECTORY = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json",
    "processor_config.json", "chat_template.json", "chat_template.jinja",
}  # fmt: skip
OTHERS = {
    "README.md",
    ".gitattributes",
    "onnx/model.onnx",
    "pytorch_model.bin",
    "training_args.bin",
    "model.fp16.bin",
}
SHARDS = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}


def test_a_directory_is_taken_without_pickles_and_other_formats() -> None:
    found = select(DIRECTORY | OTHERS | {"model.safetensors"}, "x")
    assert set(found.files) == set(found.files.values()) == DIRECTORY | {"model.safetensors"}


def test_shards_are_taken_with_their_index() -> None:
    index = "model.safetensors.index.json"
    assert set(select(DIRECTORY | SHARDS | {index}, "x").files) == DIRECTORY | SHARDS | {index}
    with pytest.raises(UserError, match="1 of 2 shards"):
        select(DIRECTORY | {index, "model-00001-of-00002.safetensors"}, "x")


def test_an_mlc_package_is_its_shards_with_one_listing_and_the_tokenizer() -> None:
    package = {"mlc-chat-config.json", "params_shard_0.bin", "params_shard_1.bin", "tokenizer.json"}
    both = {"ndarray-cache.json", "ndarray-cache-b16.json", "tensor-cache.json"}
    found = select(package | both, "x")
    assert (found.form, set(found.files)) == ("mlc", package | {"tensor-cache.json"})
    with pytest.raises(UserError, match="not all of"):
        select(package, "x")


GGUF = {
    "M-f16.gguf", "M-Q8_0.gguf", "M-Q4_K_M.gguf", "mmproj-M-f16.gguf", "mmproj-M-Q8_0.gguf", "README.md",
}  # fmt: skip


def test_eight_bits_of_gguf_files_are_taken_unless_one_is_named() -> None:
    assert select(GGUF, "x").files == {"language_model": "M-Q8_0.gguf", "mmproj": "mmproj-M-Q8_0.gguf"}
    named = select(GGUF, "x", ["M-Q4_K_M.gguf", "mmproj-M-f16.gguf"])
    assert named.files == {"language_model": "M-Q4_K_M.gguf", "mmproj": "mmproj-M-f16.gguf"}
    one = select(GGUF, "x", ["M-Q4_K_M.gguf"], "mmproj-M-f16.gguf")
    assert one.files == named.files


def test_a_gguf_file_is_text_alone_without_an_mmproj_whatever_it_is_called() -> None:
    assert select({"a.gguf"}, "x").files == {"language_model": "a.gguf"}
    assert select({"a.gguf", "tower.gguf"}, "x", (), "tower.gguf").files == {
        "language_model": "a.gguf",
        "mmproj": "tower.gguf",
    }


def test_safetensors_are_preferred_to_gguf_files_unless_one_is_named() -> None:
    files = DIRECTORY | {"model.safetensors", "sub/M-Q4_0.gguf"}
    assert select(files, "x").form == "hugging face"
    assert select(files, "x", ["M-Q4_0.gguf"]).files == {"language_model": "sub/M-Q4_0.gguf"}


@pytest.mark.parametrize(
    ("files", "wanted", "says"),
    [
        ({"README.md"}, [], "holds no model"),
        ({"config.json", "pytorch_model.bin", "tokenizer.json"}, [], "pickled weights"),
        ({"adapter_config.json", "adapter_model.safetensors"}, [], "is an adapter"),
        ({"config.json", "model.safetensors"}, [], "tokenizer.json"),
        (DIRECTORY | {"weights.safetensors"}, [], "model.safetensors"),
        ({"a-IQ2_XS.gguf", "b-IQ3_S.gguf"}, [], "choose one by --file: a-IQ2_XS.gguf, b-IQ3_S.gguf"),
        ({"a-Q8_0.gguf", "b-Q8_0.gguf"}, [], "choose one by --file"),
        (GGUF, ["c.gguf"], "no GGUF file c.gguf"),
        (GGUF, ["README.md"], "README.md is none"),
        (GGUF, ["M-f16.gguf", "M-Q8_0.gguf"], "one language model"),
        ({"mmproj-a.gguf"}, [], "no language model"),
        ({"a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"}, [], "several files|split"),
        ({"a-00001-of-00002.gguf"}, [], "split GGUF"),
    ],
)
def test_what_cannot_be_taken_is_said(files: set[str], wanted: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        select(files, "x", wanted)
