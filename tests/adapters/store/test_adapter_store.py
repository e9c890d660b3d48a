"""The folder of adapters: what counts as one, and what happens when its files change."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from adapters.install.installer import Wanted
from adapters.store.adapter_store import AdapterStore, read_policies
from adapters.store.manifest import PromptPolicy
from models.core.errors import UserError
from models.lora.peft_config import CONFIG_FILE
from models.lora.peft_format import read_peft
from tests.adapters.making import make_installer, tensors, write_adapter

FIXTURES = Path(__file__).parents[2] / "fixtures" / "peft"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("plain", "patterns"):
        shutil.copytree(FIXTURES / name, tmp_path / name)
    return tmp_path


def test_only_folders_with_a_configuration_and_a_plain_name_count(directory: Path) -> None:
    (directory / "empty").mkdir()
    (directory / "a file").write_text("")
    for name in ("auto", "none", ".staging", "-dash", "two words"):
        shutil.copytree(FIXTURES / "plain", directory / name)
    assert AdapterStore(directory).names() == ("patterns", "plain")


def test_no_directory_is_no_adapters(tmp_path: Path) -> None:
    assert AdapterStore(tmp_path / "none").names() == ()


def test_an_adapter_whose_files_were_replaced_has_another_signature_and_generation(directory: Path) -> None:
    store = AdapterStore(directory)
    loaded = store.load("plain")
    signature, first = loaded.signature, loaded.weights
    assert (first.name, signature) == ("plain", store.signature("plain"))
    config = directory / "plain" / CONFIG_FILE
    replacement = directory / "replacement"
    replacement.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 4'))
    replacement.replace(config)
    assert store.signature("plain") != signature
    second = store.load("plain").weights
    assert second.generation != first.generation
    name = "layers.0.q_proj.B"
    assert (second.lora.tensors[name] * 2 == first.lora.tensors[name]).all()


@pytest.mark.parametrize("name", ["missing", "..", "../plain", "", "auto"])
def test_names_that_are_not_there_are_refused(directory: Path, name: str) -> None:
    with pytest.raises(UserError, match="no adapter"):
        AdapterStore(directory).load(name)


def test_what_an_adapter_says_of_itself_is_read_without_its_weights(directory: Path) -> None:
    write_adapter(directory / "plants", version="1.5")
    (directory / "plants" / "adapter_model.safetensors").write_bytes(b"damaged")
    found = AdapterStore(directory).get("plants")
    assert found.manifest is not None
    assert (found.name, found.manifest.version, found.problem) == ("plants", "1.5", "")
    assert AdapterStore(directory).get("plain").manifest is None
    (directory / "plants" / "adapter.toml").write_text("?")
    assert "is not TOML" in AdapterStore(directory).get("plants").problem
    assert [adapter.name for adapter in AdapterStore(directory).all()] == ["patterns", "plain", "plants"]


def test_what_the_manifest_says_of_reading_comes_with_the_weights(directory: Path) -> None:
    write_adapter(directory / "plants", reads=PromptPolicy("always", words=False))
    store = AdapterStore(directory)
    assert store.load("plants").reads == PromptPolicy("always", words=False)
    assert store.load("plain").reads == PromptPolicy("auto", words=True)


def test_an_adapter_whose_prompts_cannot_be_made_is_not_loaded(directory: Path) -> None:
    write_adapter(directory / "plants", reads=PromptPolicy("always", prompt_format=99))
    with pytest.raises(UserError, match="prompt format 99"):
        AdapterStore(directory).load("plants")
    with pytest.raises(UserError, match="prompt format 99"):
        read_policies(directory / "plants")


def test_an_adapter_that_is_replaced_again_and_again_is_never_missing_or_mixed(directory: Path) -> None:
    versions = [write_adapter(directory.parent / f"v{n}", tensors(seed=n), version=f"{n}.0") for n in (1, 2)]
    installer = make_installer(directory)
    installer.install(Wanted(str(versions[0]), name="plants"))
    store = AdapterStore(directory)
    generations = {read_peft(folder, "plants").generation for folder in versions}
    over = threading.Event()
    problems: list[object] = []

    def look() -> None:
        try:
            while not over.is_set():
                assert store.names() == ("patterns", "plain", "plants")
                assert store.get("plants").manifest is not None
                assert store.load("plants").weights.generation in generations
        except BaseException as error:
            problems.append(error)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(20):
        installer.install(Wanted(str(versions[turn % 2]), name="plants", force=True))
    over.set()
    for reader in readers:
        reader.join()
    assert problems == []
