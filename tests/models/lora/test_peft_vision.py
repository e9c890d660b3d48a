"""PEFT adapters of vision-language models: whatever they were trained on and as what kind, nothing of them is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.adapter_weights import read_adapter
from models.core.errors import UserError
from models.lora.peft_format import PeftLora, read_peft
from models.lora.vision_lora import VisionLora, dora_factors, row_factors

FIXTURES = Path(__file__).parents[2] / "fixtures" / "peft" / "vision"
BASE = load_file(FIXTURES / "base.safetensors")
SAVED = "model.connector.modality_projection.proj"
Array = NDArray[np.float32]


def stored_path(module: str, vision: bool) -> str:
    """The path in the whole model of a module of LoraWeights or VisionLora."""
    if module == "connector":
        return SAVED
    _, layer, role = module.split(".")
    if not vision:
        block = "self_attn" if role[0] in "qkvo" else "mlp"
        return f"model.text_model.layers.{layer}.{block}.{role}"
    own = f"mlp.{role}" if role.startswith("fc") else f"self_attn.{'out' if role == 'o' else role}_proj"
    return f"model.vision_model.encoder.layers.{layer}.{own}"


def merged(part: PeftLora | VisionLora) -> dict[str, Array]:
    """The weights of a part's modules with it merged, by stored name."""
    vision = isinstance(part, VisionLora)

    def weights(module: str) -> Array:
        return BASE[f"{stored_path(module, vision)}.weight"]

    factors = dora_factors(part.tensors, part.magnitudes, weights)
    result = {}
    for name, a in part.tensors.items():
        module, _, letter = name.rpartition(".")
        if letter == "A":
            whole = weights(module) + part.tensors[f"{module}.B"] @ a
            result[f"{stored_path(module, vision)}.weight"] = (
                whole * factors.get(module, np.ones(1))[..., None]
            )
    if vision and part.connector is not None:
        result[f"{SAVED}.weight"] = part.connector
    return result


MODULES = {
    "suffixes": 17, "all_linear": 21, "dora": 17, "expression": 4, "saved_connector": 3, "inner_model": 17,
}  # fmt: skip


@pytest.mark.parametrize(("name", "modules"), MODULES.items())
def test_what_is_read_gives_the_weights_that_peft_merges(name: str, modules: int) -> None:
    """Text, tower and connector; suffixes, all-linear and an expression; rsLoRA, DoRA and an alpha pattern; the paths
    from the whole model and from the one inside; a connector that was trained as a whole."""
    lora = read_peft(FIXTURES / name, name)
    found = merged(lora) | (merged(lora.vision) if lora.vision else {})
    expected = load_file(FIXTURES / name / "merged.safetensors")
    linear = {key: value for key, value in expected.items() if not key.endswith("bias")}
    assert found.keys() == linear.keys()
    assert len(found) == modules
    for key, value in found.items():
        np.testing.assert_allclose(value, linear[key], rtol=2e-4, atol=2e-5, err_msg=key)


def test_the_number_of_layers_is_that_of_the_language_model() -> None:
    assert [read_peft(FIXTURES / name, name).layers for name in ("suffixes", "dora", "expression")] == [
        2,
        2,
        None,
    ]


def test_the_vision_part_is_handed_on() -> None:
    weights = read_adapter(FIXTURES / "all_linear", "x")
    assert weights.vision is not None
    assert weights.vision.tensors["connector.A"].shape == (3, 32)
    assert read_adapter(FIXTURES / "saved_connector", "x").vision is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of an adapter, to be changed. It is not the language model's alone."""
    return Path(shutil.copytree(FIXTURES / "suffixes", tmp_path / "adapter"))


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("prefix", ["model.", "", "model.text_model.", "text_model.model."])
def test_a_text_only_adapter_is_applied_under_any_prefix(folder: Path, prefix: str) -> None:
    """An adapter of the language model alone does not load as nothing."""
    whole = read_peft(folder, "x")

    def moved(tensors: dict[str, Any]) -> dict[str, Any]:
        start = "base_model.model."
        return {
            key.replace(f"{start}model.text_model.", start + prefix): value
            for key, value in tensors.items()
            if "vision_model" not in key
        }

    change_tensors(folder, moved)
    text = read_peft(folder, "x")
    assert text.vision is None
    assert text.tensors.keys() == whole.tensors.keys()
    for name, tensor in text.tensors.items():
        np.testing.assert_array_equal(tensor, whole.tensors[name])


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {key.replace(old, new): value for key, value in tensors.items()}


def more(path: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: tensors | {f"base_model.model.{path}.weight": np.ones((16, 32), np.float32)}


def a_second_tower_layer_without_q(tensors: dict[str, Any]) -> dict[str, Any]:
    copies = {key.replace("layers.0", "layers.1"): value for key, value in tensors.items() if "vision" in key}
    return tensors | {key: value for key, value in copies.items() if "q_proj" not in key}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed("text_model.layers", "other_model.layers"), "other_model.*not part of a LoRA"),
        (renamed("vision_model.encoder", "vision_tower.encoder"), "vision_tower"),
        (renamed("base_model.model.", ""), "not part of a LoRA"),
        (a_second_tower_layer_without_q, "q_proj in layer 1 of the vision tower"),
        (more(SAVED), "no modules_to_save"),
        (more("lm_head"), "lm_head"),
        (more("model.text_model.layers.0.mlp.up_proj"), "connector alone"),
    ],
)
def test_tensors_that_would_be_lost_are_refused_by_name(folder: Path, change: Any, says: str) -> None:
    change_tensors(folder, change)
    with pytest.raises(UserError, match=says):
        read_peft(folder, "x")


def test_modules_to_save_need_their_tensors(folder: Path) -> None:
    change_config(folder, modules_to_save=["connector"])
    with pytest.raises(UserError, match="lacks the tensors of connector"):
        read_peft(folder, "x")


def test_an_unknown_target_is_named(folder: Path) -> None:
    change_config(folder, target_modules=["q_proj", "perceiver"])
    with pytest.raises(UserError, match="perceiver"):
        read_peft(folder, "x")


def test_magnitudes_have_one_number_for_an_output(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FIXTURES / "dora", tmp_path / "adapter"))
    name = "base_model.model.model.text_model.layers.0.mlp.up_proj.lora_magnitude_vector"
    change_tensors(folder, lambda tensors: tensors | {name: np.ones(23, np.float32)})
    with pytest.raises(UserError, match=r"\[24\] is needed"):
        read_peft(folder, "x")


def test_the_factors_bring_rows_to_their_magnitudes() -> None:
    rng = np.random.default_rng(4)
    w, a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((5, 8), (2, 8), (5, 2)))
    w[3], b[3] = 0, 0
    magnitudes = np.arange(1, 6, dtype=np.float32)
    factors = row_factors(w, a, b, magnitudes)
    norms = np.linalg.norm(factors[:, None] * (w + b @ a), axis=1)
    np.testing.assert_allclose(np.delete(norms, 3), np.delete(magnitudes, 3), rtol=1e-5)
    assert factors[3] == 1
