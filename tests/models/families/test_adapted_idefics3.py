"""An adapter of a whole vision-language model gives what a checkpoint gives that it was merged into."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from models.adapter_weights import read_adapter
from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import no_progress
from models.families.parts import LoadOptions, Parts
from models.families.registry import load_parts
from models.lora.peft_config import MODULES, VISION_MODULES
from models.model_dump import dump, read_messages
from tests.fixtures.numerics.vlm_cases import CASES, QUESTIONS, weights, write_checkpoint, write_safetensors
from tests.models.families.vlm_models import difference, directory_files
from tests.models.tiny_directory import LAYERS, model_files, write_directory

pytestmark = pytest.mark.slow  # compiles at the first run

CASE, QUESTION = CASES["tied"], QUESTIONS["photo"]
CONNECTOR = "model.connector.modality_projection.proj"
RANK, ALPHA = 4, 4
Arrays = dict[str, NDArray[np.float32]]


def linears(*, vision: bool) -> list[str]:
    """The paths of the language model's linear layers, and of the tower's and the connector."""
    names = MODULES + (VISION_MODULES if vision else ())
    whole = [name.removesuffix(".weight") for name in weights(CASE) if name.endswith(".weight")]
    return [path for path in whole if path.endswith(names) and (vision or "text_model" in path)]


def write_adapter(folder: Path, tensors: Arrays, **settings: Any) -> Path:
    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear"} | settings
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stored = {f"base_model.model.{name}": values for name, values in tensors.items()}
    safetensors.numpy.save_file(stored, folder / "adapter_model.safetensors")
    return folder


def random_adapter(paths: list[str], *, decomposed: bool, size: float = 1) -> tuple[Arrays, Arrays]:
    """The adapter's tensors by PEFT's names without their prefix, and the weights with it merged."""
    random, base = np.random.default_rng(8), weights(CASE)
    tensors: Arrays = {}
    for path in paths:
        w = base[f"{path}.weight"]
        a = random.normal(0, 0.6 / np.sqrt(w.shape[1]), (RANK, w.shape[1])).astype(np.float32)
        b = random.normal(0, 0.6 * size / np.sqrt(RANK), (w.shape[0], RANK)).astype(np.float32)
        tensors |= {f"{path}.lora_A.weight": a, f"{path}.lora_B.weight": b}
        merged = w + b @ a
        if decomposed:
            norms = np.linalg.norm(merged, axis=1)
            magnitudes = (norms * random.uniform(0.7, 1.3, len(norms))).astype(np.float32)
            tensors[f"{path}.lora_magnitude_vector"] = magnitudes
            merged = merged * (magnitudes / norms)[:, None]
        base[f"{path}.weight"] = merged.astype(np.float32)
    return tensors, base


def loaded(folder: Path, cache: Path) -> Parts:
    return load_parts(directory_files(folder), LoadOptions(cache, 1), no_progress)


def merged_parts(tmp_path: Path, cache: Path, tensors: Arrays) -> Parts:
    folder = write_checkpoint(CASE, tmp_path / "merged")
    write_safetensors(folder / "model.safetensors", tensors, "F32")
    return loaded(folder, cache)


def arrays(parts: Parts, adapter: CompiledAdapter | None = None) -> Mapping[str, NDArray[Any]]:
    images = [load_image(file) for file in QUESTION.files()]
    return dump(parts, read_messages(QUESTION.messages), images, adapter)


@pytest.mark.parametrize("decomposed", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("vision", [False, True], ids=["text", "all"])
def test_an_adapter_is_as_good_as_merged(
    tmp_path: Path, engine_cache: Path, decomposed: bool, vision: bool
) -> None:
    tensors, merged = random_adapter(linears(vision=vision), decomposed=decomposed)
    folder = write_adapter(tmp_path / "adapter", tensors, use_dora=decomposed)
    parts = loaded(write_checkpoint(CASE, tmp_path / "base"), engine_cache)
    packer = CompiledAdapterPacker(parts.language.runtime.shape, tmp_path / "packed", parts.base)
    adapter = packer.pack(read_adapter(folder, "x"))
    found, plain = arrays(parts, adapter), arrays(parts)
    wanted = arrays(merged_parts(tmp_path, engine_cache, merged))
    for name in ("image_features", "logits_at_positions"):
        assert difference(found[name], wanted[name]) < 0.06, name
    assert difference(plain["logits_at_positions"], wanted["logits_at_positions"]) > 0.3
    if vision:
        assert difference(plain["image_features"], wanted["image_features"]) > 0.3
    else:
        assert np.array_equal(found["image_features"], plain["image_features"])

    packer.keep(adapter, "signature")
    opened = packer.open(folder, "x", "signature")
    assert opened is not None
    assert np.array_equal(arrays(parts, opened)["logits_last"], found["logits_last"])


def test_a_connector_that_was_trained_as_a_whole_takes_its_place(tmp_path: Path, engine_cache: Path) -> None:
    tensors, merged = random_adapter([p for p in linears(vision=False) if "v_proj" in p], decomposed=False)
    connector = np.random.default_rng(1).permutation(merged[f"{CONNECTOR}.weight"])
    merged[f"{CONNECTOR}.weight"] = tensors[f"{CONNECTOR}.weight"] = connector
    folder = write_adapter(
        tmp_path / "adapter", tensors, target_modules=["v_proj"], modules_to_save=["connector"]
    )
    parts = loaded(write_checkpoint(CASE, tmp_path / "base"), engine_cache)
    packer = CompiledAdapterPacker(parts.language.runtime.shape, tmp_path / "packed", parts.base)
    found = arrays(parts, packer.pack(read_adapter(folder, "x")))
    wanted = arrays(merged_parts(tmp_path, engine_cache, merged))
    assert difference(found["image_features"], wanted["image_features"]) < 1e-5
    assert difference(found["logits_at_positions"], wanted["logits_at_positions"]) < 0.05


def test_an_adapter_that_sees_is_refused_by_a_model_that_does_not(tmp_path: Path, engine_cache: Path) -> None:
    tensors, _ = random_adapter([CONNECTOR], decomposed=False)
    folder = write_adapter(tmp_path / "adapter", tensors)
    directory = write_directory(tmp_path / "text")
    parts = load_parts(model_files(directory), LoadOptions(engine_cache, 1), no_progress)
    packer = CompiledAdapterPacker(parts.language.runtime.shape, tmp_path / "packed", parts.base)
    assert parts.language.runtime.shape.layers == LAYERS
    with pytest.raises(UserError, match="changes a vision tower, which this model does not have"):
        packer.pack(read_adapter(folder, "x"))
