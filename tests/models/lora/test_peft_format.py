"""PEFT adapters: read as peft itself means them, or refused with one sentence that names what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from models.core.errors import UserError
from models.formats.safetensors_file import SafetensorsFile
from models.lora.peft_config import parse_config
from models.lora.peft_format import check_layers, read_peft

FIXTURES = Path(__file__).parents[2] / "fixtures" / "peft"
CONFIG = FIXTURES / "plain" / "adapter_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a real adapter, to be damaged."""
    return Path(shutil.copytree(FIXTURES / "plain", tmp_path / "adapter"))


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_tensors(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize("name", ["plain", "patterns", "one_layer"])
def test_what_is_read_is_the_weight_change_that_peft_itself_computes(name: str) -> None:
    """Covers alpha / r, rsLoRA's alpha / sqrt(r), rank and alpha patterns, adapters of some layers."""
    lora = read_peft(FIXTURES / name, name)
    expected = load_file(FIXTURES / name / "changes.safetensors")
    read = {key.removesuffix(".A") for key in lora.tensors if key.endswith(".A")}
    assert read == {re.sub(r"\.(self_attn|mlp)\.", ".", path) for path in expected}
    for path, change in expected.items():
        _, layer, _, module = path.split(".")
        a, b = (lora.tensors[f"layers.{layer}.{module}.{part}"] for part in "AB")
        assert a.shape[0] == b.shape[1] == lora.rank
        np.testing.assert_allclose(b @ a, change, rtol=1e-5, atol=1e-6)


def test_another_content_is_another_generation(folder: Path) -> None:
    before = read_peft(folder, "x")
    assert read_peft(folder, "x").generation == before.generation

    def nudge(tensors: dict[str, Any]) -> None:
        next(iter(tensors.values()))[0, 0] += 1

    change_tensors(folder, nudge)
    changed = read_peft(folder, "x").generation
    change_config(folder, lora_alpha=9)
    assert len({before.generation, changed, read_peft(folder, "x").generation}) == 3


def test_a_file_that_is_replaced_while_it_is_read_does_not_lend_its_generation(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_peft(folder, "x").generation

    class Replaced(SafetensorsFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            tensors = load_file(path)
            next(iter(tensors.values()))[0, 0] += 1
            save_file(tensors, folder / "new")
            (folder / "new").replace(path)

    monkeypatch.setattr("models.lora.peft_format.SafetensorsFile", Replaced)
    assert read_peft(folder, "x").generation == before
    monkeypatch.undo()
    assert read_peft(folder, "x").generation != before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"peft_type": None}, "None"),
        ({"use_dora": True}, "lacks the lora_magnitude_vector of model.layers.0.*use_dora = True"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"target_parameters": ["x"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"something_of_tomorrow": 1}, "something_of_tomorrow"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
        ({"target_modules": ["q_proj"]}, "does not target"),
        ({"r": 0}, "r = 0"),
        ({"r": 5}, r"\[5, inputs\]"),
        ({"r": "4"}, "r = '4'"),
        ({"r": 129}, "129"),
        ({"lora_alpha": "many"}, "lora_alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"alpha_pattern": {"q_proj": 10**400}}, "alpha_pattern"),
        ({"use_rslora": "yes"}, "use_rslora = 'yes'; true or false"),
        ({"rank_pattern": {"(": 1}}, "rank_pattern"),
        ({"rank_pattern": {"q_proj": 1.5}}, "rank_pattern"),
        ({"rank_pattern": {"([a-z0-9_.]+)+!": 1}}, "counts as two"),
        ({"alpha_pattern": {"(a|a)(b|b)": 1}}, "counts as two"),
        ({"rank_pattern": {"(q|v)*_proj": 1}}, "counts as two"),
        ({"rank_pattern": {"(q|v_proj": 1}}, "no regular expression"),
        ({"alpha_pattern": {"a?a?a?": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {"q{1,9}": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {"x" * 257: 1}}, "alpha_pattern"),
        ({"alpha_pattern": {".*.*.*.*": 1}}, "alpha_pattern"),
        ({"alpha_pattern": {f".*{i}": 1 for i in range(33)}}, "name the modules in full"),
        ({"alpha_pattern": {f"m{i}": 1 for i in range(2049)}}, "name the modules in full"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
    ],
)
def test_a_configuration_that_would_not_be_applied_right_is_refused(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    change_config(folder, **changes)
    with pytest.raises(UserError, match=words):
        read_peft(folder, "x")


MAGNITUDE = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"
Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"


def _remove(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.pop(name)


def _put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_remove(Q.format("A")), "lacks lora_A"),
        (_remove(Q.format("B")), "lacks lora_B"),
        (lambda t: (t.pop(Q.format("A")), t.pop(Q.format("B"))), "lacks the tensors of q_proj in layer 0"),
        (_put(Q.format("A"), np.zeros((4, 0), np.float32)), "needed"),
        (_put(Q.format("A"), np.zeros((16, 4), np.float32)), r"\[16, 4\]"),
        (_put(Q.format("B"), np.zeros((4, 16), np.float32)), r"\[4, 16\]"),
        (_put(Q.format("A"), np.zeros(64, np.float32)), r"\[64\]"),
        (_put(Q.format("A"), np.zeros((4, 16), np.float64)), "F64"),
        (_put(Q.format("A"), np.zeros((4, 16), np.int8)), "I8"),
        (_put(Q.format("A"), np.full((4, 16), np.nan, np.float32)), "not finite"),
        (_put(Q.format("B"), np.full((16, 4), np.inf, np.float32)), "not finite"),
        (_put("base_model.model.lm_head.lora_A.weight", np.zeros((4, 16), np.float32)), "lm_head"),
        (_put(Q.format("magnitude"), np.zeros((4, 16), np.float32)), "magnitude"),
        (_put(MAGNITUDE, np.zeros(16, np.float32)), "has a lora_magnitude_vector.*use_dora = False"),
        (_put(Q.format("A").replace("self_attn", "mlp"), np.zeros((4, 16), np.float32)), "not in that block"),
        (
            _put(Q.format("A").replace("model.model.model", "model.model"), np.zeros((4, 16), np.float32)),
            "twice",
        ),
        (dict.clear, "no tensors"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(folder: Path, change: Any, words: str) -> None:
    change_tensors(folder, change)
    with pytest.raises(UserError, match=words):
        read_peft(folder, "x")


@pytest.mark.parametrize(
    "expression",
    [
        "q_proj",
        "layers.0.self_attn.q_proj",
        r"^model\.layers\.[0-9]+\.self_attn\.q_proj$",
        r"self_attn.*",
        r"layers\.\d+\..*q_proj|k_proj",
        r".*\.(q|v)_proj",
        r"(?:self_attn|mlp)\.q_proj",
    ],
)
def test_patterns_as_people_write_them_are_applied(folder: Path, expression: str) -> None:
    before = read_peft(folder, "x").tensors
    change_config(folder, alpha_pattern={expression: 16 * json.loads(CONFIG.read_text())["lora_alpha"]})
    after = read_peft(folder, "x").tensors
    np.testing.assert_array_equal(after["layers.0.q_proj.B"], 16 * before["layers.0.q_proj.B"])


def test_the_worst_pattern_that_is_accepted_does_not_hang(folder: Path) -> None:
    same = "|".join(["[a-z_]"] * 30)
    for worst in (".*[a-z0-9_.]*.+X", f".*({same})X"):
        change_config(folder, alpha_pattern={f"{worst}{number}": 1 for number in range(10)})
        read_peft(folder, "x")


def test_an_adapter_of_a_shorter_model_is_refused_unless_it_was_meant_for_some_layers(folder: Path) -> None:
    lora = read_peft(folder, "short")
    assert lora.layers is not None
    check_layers(lora, lora.layers)
    for other in (lora.layers - 1, lora.layers + 1):
        with pytest.raises(UserError, match=rf"short was trained on a model of {lora.layers} layers"):
            check_layers(lora, other)
    check_layers(read_peft(FIXTURES / "one_layer", "one"), 30)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\0" * 100, b"[" * 100_000, b'{"a": 1'])
def test_missing_and_damaged_files_are_named(folder: Path, file: str, content: bytes | None) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        read_peft(folder, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "r",
    "lora_alpha",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "init_lora_weights",
    "x",
]


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_configuration_is_read_or_refused_never_a_crash(fields: dict[str, object]) -> None:
    data = json.dumps({"peft_type": "LORA", **fields}).encode()
    try:
        config = parse_config(data, Path("adapter_config.json"))
    except UserError as error:
        assert "adapter_config.json" in str(error)
    else:
        assert np.isfinite(config.scale_of("layers.0.self_attn.q_proj"))
