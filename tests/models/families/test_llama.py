"""The family "llama" runs the same model alike from each kind of files. On a tiny random model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.types import Message, Sampling, no_progress
from models.families.parts import LoadOptions
from models.families.registry import load_parts
from models.formats.llama_sources import directory_digest
from tests.models.formats.mlc.mlc_files import TEMPLATE, mlc_settings, mlc_tensors, write_mlc
from tests.models.tiny_directory import SETTINGS, model_files, write_directory

pytestmark = pytest.mark.slow  # compiles at the first run

# What the tiny directory's own template writes.
PLAIN = TEMPLATE | {
    "roles": {"user": "<|start|>user", "assistant": "<|start|>"}, "seps": ["<|end|>"], "role_empty_sep": "",
    "system_template": "{system_message}", "role_content_sep": "\n",
}  # fmt: skip


@pytest.mark.parametrize("file", ["tokenizer.json", "generation_config.json"])
def test_a_tokenizer_with_tokens_that_the_model_lacks_is_refused(tmp_path: Path, file: str) -> None:
    directory = write_directory(tmp_path / "hf")
    if file == "tokenizer.json":
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / file))
        tokenizer.add_special_tokens(["<|one too many|>"])
        tokenizer.save(str(directory / file))
    else:
        (directory / file).write_text('{"eos_token_id": [257, 258]}')
    with pytest.raises(UserError, match=r"tokenizer of tiny has the token 258.* 0 to 257"):
        load_parts(model_files(directory), LoadOptions(tmp_path / "cache", 1), no_progress)


def answer(directory: Path, cache: Path, adapters: Path) -> list[tuple[int, float]]:
    files = replace(model_files(directory), digest=directory_digest(directory))
    parts = load_parts(files, LoadOptions(cache, 1), no_progress)
    engine = CompiledEngine("tiny", "0", parts, adapters)
    generated = engine.generate([Message("user", "abc?")], Sampling(max_tokens=6))
    return [(token.id, token.logprob) for token in generated]


def test_an_mlc_package_answers_as_the_directory_that_it_was_made_of(
    tmp_path: Path, engine_cache: Path
) -> None:
    directory = write_directory(tmp_path / "hf")
    tensors = safetensors.numpy.load_file(directory / "model.safetensors")
    narrow = {name: (v.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, v in tensors.items()}
    safetensors.numpy.save_file(narrow, directory / "model.safetensors")
    settings = mlc_settings(SETTINGS, "q0bf16", conv_template=PLAIN)
    package = write_mlc(tmp_path / "mlc", settings, mlc_tensors(narrow, "q0bf16"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(directory / name, package / name)
    expected = answer(directory, engine_cache, tmp_path)
    assert len(expected) == 6
    assert answer(package, engine_cache, tmp_path) == expected
