"""Trying an adapter: on a real engine of a tiny model, and adapters that the peft library itself saved."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.install.installer import Installer, Wanted
from adapters.install.probe import MOST_QUESTIONS, QUESTION, probe
from adapters.prototypes import read_prototypes
from adapters.store.manifest import MANIFEST_FILE
from models.adapter_weights import AdapterWeights
from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.types import Token
from models.hub.store import BaseDigests
from models.lora.peft_format import read_peft
from models.lora.weights import LoraWeights
from tests.adapters.making import MODEL, FakeModel, make_installer, tensors, write_adapter, write_peft
from tests.models import tiny_directory

WEIGHTS = AdapterWeights(LoraWeights("x", 1, 1, {"layers.0.q_proj.B": np.ones((4, 1), np.float32)}))


def test_the_first_examples_are_asked_and_a_question_of_its_own_without_any() -> None:
    model = FakeModel()
    probe(model, WEIGHTS, [f"{number}?" for number in range(10)])
    assert set(model.asked) == {f"{number}?" for number in range(MOST_QUESTIONS)}
    model = FakeModel()
    probe(model, WEIGHTS, [])
    assert set(model.asked) == {QUESTION}


def test_an_adapter_that_only_changes_the_prompt_does_nothing() -> None:
    class Wordy(FakeModel):
        def generate(
            self, messages: Any, sampling: Any, *, adapter: Any = None, use_words: bool = True
        ) -> Iterator[Token]:
            del messages, sampling, adapter
            return iter([Token(1, "a", -1.0 if use_words else -2.0)])

    zeros = {"layers.0.q_proj.B": np.zeros((4, 1), np.float32)}
    for words in (True, False):
        with pytest.raises(UserError, match="does nothing"):
            probe(Wordy(), AdapterWeights(LoraWeights("x", 1, 1, zeros)), [], use_words=words)


def test_the_picture_is_looked_at_in_one_piece() -> None:
    """A model that cuts images into tiles would look at 17 of them twice."""
    details = []

    class Looking(FakeModel):
        def generate(
            self, messages: Any, sampling: Any, *, adapter: Any = None, use_words: bool = True
        ) -> Iterator[Token]:
            details.extend(image.detail for image in messages[0].images)
            return super().generate(messages, sampling, adapter=adapter, use_words=use_words)

    probe(Looking(), WEIGHTS, [])
    assert set(details) == {"low"}


class TinyModels:
    """A real engine of the tiny model."""

    def __init__(self, engine: CompiledEngine) -> None:
        self._engine = engine

    def base_for(self, published: str) -> str:
        del published
        return MODEL

    def base_of(self, model: str, digest: str) -> str:
        del digest
        return model

    def base_digests(self, name: str) -> BaseDigests:
        assert name == MODEL
        return BaseDigests("1" * 64, frozenset(("1" * 64,)))

    def load(self, name: str) -> CompiledEngine:
        assert name == MODEL
        return self._engine

    def router_features(self, base: CompiledEngine) -> CompiledEngine:
        return base


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, engine_cache: Path) -> Iterator[CompiledEngine]:
    directory = tiny_directory.write_directory(tmp_path_factory.mktemp("tiny") / "model")
    loaded = CompiledEngine.load(tiny_directory.model_files(directory), cache_dir=engine_cache)
    yield loaded
    loaded.close()


@pytest.fixture
def installer(tmp_path: Path, engine: CompiledEngine) -> Installer:
    return make_installer(tmp_path / "adapters", models=TinyModels(engine))


@pytest.mark.slow
def test_an_adapter_that_fits_is_installed_with_prototypes(installer: Installer, tmp_path: Path) -> None:
    adapter = installer.install(Wanted(str(write_adapter(tmp_path / "a")))).adapter
    prototypes = read_prototypes(adapter.folder / "router.safetensors")
    assert prototypes.question.shape == (1, tiny_directory.HIDDEN)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "complaint"), [(0.0, "does nothing"), (1e36, "values that are not finite")]
)
def test_an_adapter_that_does_nothing_or_too_much_is_refused(
    installer: Installer, tmp_path: Path, scale: float, complaint: str
) -> None:
    stored = {
        name: (value * scale).astype(np.float32) if "lora_B" in name else value
        for name, value in tensors().items()
    }
    with pytest.raises(UserError, match=complaint):
        installer.install(Wanted(str(write_peft(tmp_path / "a", stored))))


@pytest.mark.slow
def test_an_adapter_of_another_shape_or_depth_is_refused(installer: Installer, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    stored = {**tensors(), name: np.ones((4, 32), np.float32)}
    with pytest.raises(UserError, match="does not fit this model"):
        installer.install(Wanted(str(write_peft(tmp_path / "wide", stored))))
    for layers in (1, 3):
        with pytest.raises(UserError, match=f"of {layers} layers|has no place for"):
            installer.install(Wanted(str(write_peft(tmp_path / f"deep{layers}", tensors(layers=layers)))))


@pytest.mark.train
@pytest.mark.slow
def test_what_the_peft_library_saves_is_installed_and_computes_the_same(
    installer: Installer, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**tiny_directory.SETTINGS))
    config = peft.LoraConfig(r=3, lora_alpha=7, use_rslora=True, target_modules=["q_proj", "gate_proj"])
    adapted = peft.get_peft_model(model, config)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").exists()
    adapter = installer.install(Wanted(str(tmp_path / "saved"))).adapter
    assert tomllib.loads((adapter.folder / MANIFEST_FILE).read_text())["base_model"] == MODEL
    weights = read_peft(adapter.folder, "saved")
    expected = adapted.base_model.model.model.layers[1].self_attn.q_proj.get_delta_weight("default")
    product = weights.tensors["layers.1.q_proj.B"] @ weights.tensors["layers.1.q_proj.A"]
    np.testing.assert_allclose(product, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
