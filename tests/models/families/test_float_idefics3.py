"""In float, SmolVLM and its relatives compute what transformers computes, up to the rounding of attention."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.adapter_weights import AdapterWeights, read_adapter
from models.compiled_adapters import CompiledAdapterPacker
from models.compiled_engine import CompiledEngine, FloatCopy
from models.core.types import Message, Sampling, no_progress
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.formats.llama_weights import Precision
from models.model_dump import dump, read_messages
from models.precision import Updates, float_memory
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, write_checkpoint, write_safetensors
from tests.models.families.test_adapted_idefics3 import (
    CONNECTOR,
    Arrays,
    arrays,
    linears,
    random_adapter,
    write_adapter,
)
from tests.models.families.vlm_models import (
    FLOAT_ERROR,
    difference,
    directory_files,
    expected,
    images_of,
    parts,
)
from tests.models.vision.vision_cases import PATHS

pytestmark = pytest.mark.slow  # compiles at the first run
CASE = CASES["tied"]


def check(loaded: Parts, name: str, question: str) -> None:
    found = dump(loaded, read_messages(QUESTIONS[question].messages), images_of(question))
    compared = [key for key in ("image_features", "logits_last", "logits_at_positions") if key in found]
    for key in compared:
        assert difference(found[key], expected(name)[f"{question}/{key}"]) < FLOAT_ERROR, key


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_gives_what_transformers_gives(name: str, engine_cache: Path) -> None:
    for question in QUESTIONS:
        check(parts(name, "directory", PATHS[0], engine_cache, "float"), name, question)


@pytest.mark.parametrize("path", PATHS[1:])
def test_every_kernel_path_gives_what_transformers_gives(path: str, engine_cache: Path) -> None:
    check(parts("like_256m", "directory", path, engine_cache, "float"), "like_256m", "photo")


def test_gguf_files_give_what_transformers_gives(engine_cache: Path) -> None:
    check(parts("like_256m", "bf16", PATHS[0], engine_cache, "float"), "like_256m", "photo")


def loaded(folder: Path, cache: Path, precision: Precision = "float") -> Parts:
    return load_parts(directory_files(folder), LoadOptions(cache, 1, precision=precision), no_progress)


def merged(tmp_path: Path, cache: Path, tensors: Arrays) -> Parts:
    folder = write_checkpoint(CASE, tmp_path / "merged")
    write_safetensors(folder / "model.safetensors", tensors, "F32")
    return loaded(folder, cache)


@pytest.mark.parametrize("decomposed", [False, True], ids=["lora", "dora"])
def test_a_strong_adapter_is_as_good_as_merged(tmp_path: Path, engine_cache: Path, decomposed: bool) -> None:
    """One that is eight times as large as the tests of int8 take, which would make int8 wrong by a quarter."""
    tensors, weights = random_adapter(linears(vision=True), decomposed=decomposed, size=8)
    folder = write_adapter(tmp_path / "adapter", tensors, use_dora=decomposed)
    model = loaded(write_checkpoint(CASE, tmp_path / "base"), engine_cache)
    adapter = read_adapter(folder, "x")
    packer = CompiledAdapterPacker(model.language.runtime.shape, tmp_path / "packed", model.base)
    found, wanted = arrays(model, packer.pack(adapter)), arrays(merged(tmp_path, engine_cache, weights))
    for name in ("image_features", "logits_last", "logits_at_positions"):
        assert difference(found[name], wanted[name]) < 0.02, name
    assert Updates(model.base).need_floats(adapter)


def test_a_connector_that_was_trained_as_a_whole_takes_its_place(tmp_path: Path, engine_cache: Path) -> None:
    paths = [path for path in linears(vision=False) if "v_proj" in path]
    tensors, weights = random_adapter(paths, decomposed=False)
    connector = np.random.default_rng(1).permutation(weights[f"{CONNECTOR}.weight"])
    weights[f"{CONNECTOR}.weight"] = tensors[f"{CONNECTOR}.weight"] = connector
    settings = {"target_modules": ["v_proj"], "modules_to_save": ["connector"]}
    folder = write_adapter(tmp_path / "adapter", tensors, **settings)
    model = loaded(write_checkpoint(CASE, tmp_path / "base"), engine_cache)
    packer = CompiledAdapterPacker(model.language.runtime.shape, tmp_path / "packed", model.base)
    found = arrays(model, packer.pack(read_adapter(folder, "x")))
    wanted = arrays(merged(tmp_path, engine_cache, weights))
    assert difference(found["image_features"], wanted["image_features"]) < 1e-6
    assert difference(found["logits_at_positions"], wanted["logits_at_positions"]) < FLOAT_ERROR


@pytest.mark.parametrize("precision", ["int8", "float"])
def test_the_size_of_an_update_is_that_of_its_product(
    tmp_path: Path, engine_cache: Path, precision: Precision
) -> None:
    tensors, weights = random_adapter(linears(vision=True), decomposed=False, size=0.25)
    folder = write_adapter(tmp_path / "adapter", tensors)
    model = loaded(write_checkpoint(CASE, tmp_path / "base"), engine_cache, precision)
    adapter = read_adapter(folder, "x")
    updates = changed = 0.0
    for path in linears(vision=True):
        update = tensors[f"{path}.lora_B.weight"] @ tensors[f"{path}.lora_A.weight"]
        updates += np.linalg.norm(update) ** 2
        changed += np.linalg.norm(weights[f"{path}.weight"] - update) ** 2
    assert Updates(model.base).size(adapter) == pytest.approx(np.sqrt(updates / changed), rel=1e-3)
    assert not Updates(model.base).need_floats(adapter)


def adapter_of(tmp_path: Path, name: str, size: float) -> AdapterWeights:
    tensors, _ = random_adapter(linears(vision=True), decomposed=False, size=size)
    return read_adapter(write_adapter(tmp_path / name, tensors), name)


@pytest.fixture
def engine(tmp_path: Path, engine_cache: Path) -> CompiledEngine:
    """A model in int8 as a large one is."""
    folder = write_checkpoint(CASE, tmp_path / "base")
    rounded = loaded(folder, engine_cache, "int8")
    copy = FloatCopy(
        lambda _: loaded(folder, engine_cache), partial(float_memory, directory_files(folder), 4096)
    )
    return CompiledEngine("tiny", "0", rounded, tmp_path, copy)


def test_an_engine_answers_under_a_strong_adapter_in_float(
    engine: CompiledEngine, tmp_path: Path, engine_cache: Path
) -> None:
    question = Message("user", "What is this?", (images_of("unsplit")[0],))
    strong, weak = (
        engine.adapters.pack(adapter_of(tmp_path, name, size))
        for name, size in (("strong", 8), ("weak", 0.1))
    )
    assert (strong.lora.floats, weak.lora.floats) == (True, False)
    assert (engine.precision(), engine.precision(weak), engine.precision(strong)) == ("int8", "int8", "float")
    assert engine.memory_under(weak) == 0
    assert engine.memory_under(strong) > 1e6
    exact = loaded(tmp_path / "base", engine_cache)
    for adapter, model in ((strong, exact), (weak, loaded(tmp_path / "base", engine_cache, "int8"))):
        answer = engine.generate([question], Sampling(max_tokens=4), adapter=adapter)
        list(answer)
        rows = engine.encode_image(question.images[0], adapter).embeddings
        assert model.vision is not None
        seen = model.vision.encode(question.images[0], adapter.vision)
        np.testing.assert_array_equal(rows, seen.embeddings)

    assert engine.memory_under(strong) == 0  # it is counted already
    engine.free_copy()
    assert engine.memory_under(strong) > 1e6
    again = engine.generate([question], Sampling(max_tokens=4), adapter=strong)
    list(again)
    assert again.stop_reason is not None

    engine.adapters.keep(strong, "signature")
    opened = engine.adapters.open(tmp_path / "strong", "strong", "signature")
    assert opened is not None
    assert opened.lora.floats
    np.testing.assert_array_equal(opened.lora.tensor, strong.lora.tensor)
