"""The folder of adapters: what counts as one, and what happens when its files change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapters.store import AdapterStore
from models.errors import UserError
from models.peft_format import CONFIG_FILE

FIXTURES = Path(__file__).parent.parent / "fixtures" / "peft"


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
    signature, first = store.read("plain")
    assert (first.name, signature) == ("plain", store.signature("plain"))
    config = directory / "plain" / CONFIG_FILE
    replacement = directory / "replacement"
    replacement.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 4'))
    replacement.replace(config)
    assert store.signature("plain") != signature
    second = store.load("plain")
    assert second.generation != first.generation
    name = "layers.0.q_proj.B"
    assert (second.tensors[name] * 2 == first.tensors[name]).all()


@pytest.mark.parametrize("name", ["missing", "..", "../plain", "", "auto"])
def test_names_that_are_not_there_are_refused(directory: Path, name: str) -> None:
    with pytest.raises(UserError, match="no adapter"):
        AdapterStore(directory).load(name)
