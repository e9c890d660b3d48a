"""The catalog: the entry of the default model, and the refusal of wrong entries."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.core.errors import UserError
from models.hub.catalog import HubSource, LocalSource, PypiSource
from models.hub.catalog_file import read_catalog

DIGEST = hashlib.sha256(b"").hexdigest()
ENTRY = f"""
[models.mine]
description = "d"
family = "f"
licence = "l"
[models.mine.files.weights]
name = "weights.gguf"
size = 12
sha256 = "{DIGEST}"
source = "hf:owner/repo@{"a" * 40}"
path = "sub/weights.gguf"
"""


def read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(text)
    read_catalog(path)


def test_the_default_model_comes_from_two_wheels() -> None:
    catalog = read_catalog()
    entry = catalog.entry(catalog.default)
    assert entry.name == "edge-vlm-135m"
    assert {file.role for file in entry.files} == {"language_model", "vision_tower"}
    assert all(isinstance(file.source, PypiSource) for file in entry.files)
    assert entry.size == 98_362_432 + 24_666_229
    assert entry.download_size == 92_871_040 + 22_716_958
    assert entry.bundled is not None
    assert entry.bundled.name == entry.name


def test_each_model_of_the_app_says_what_it_is_good_at_and_takes_more_memory_than_its_files() -> None:
    for entry in read_catalog().entries.values():
        assert entry.good_at
        assert entry.size < entry.memory < 3 * entry.size


def test_the_published_vision_models_are_a_language_model_and_an_mmproj() -> None:
    entries = read_catalog().entries
    for name in ("smolvlm-256m", "smolvlm-500m", "smolvlm2-500m", "smolvlm2-2.2b"):
        assert entries[name].family == "idefics3"
        assert {file.role for file in entries[name].files} == {"language_model", "mmproj"}
        assert all(isinstance(file.source, HubSource) for file in entries[name].files)


def test_memory_is_estimated_from_the_files_where_the_catalog_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(ENTRY.replace("size = 12", "size = 1_000_000_000"))
    assert read_catalog(path).entry("mine").memory == 1_350_000_000
    path.write_text(ENTRY.replace('licence = "l"', 'licence = "l"\nmemory = 7\ngood_at = "tests"'))
    assert read_catalog(path).entry("mine").memory == 7
    assert read_catalog(path).entry("mine").good_at == "tests"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("HuggingFaceTB/SmolVLM-500M-Instruct", ("smolvlm-500m",)),
        ("/content/SmolVLM-256M-Instruct/", ("smolvlm-256m",)),
        ("smolvlm-256m", ("smolvlm-256m",)),
        ("HuggingFaceTB/SmolVLM-500M-Base", ()),
        ("", ()),
    ],
)
def test_a_model_is_found_by_the_name_under_which_it_was_published(
    source: str, found: tuple[str, ...]
) -> None:
    assert read_catalog().published_as(source) == found


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    with pytest.raises(UserError, match=r"'gpt-7'.*edge-vlm-135m"):
        read_catalog().entry("gpt-7")


def test_entries_of_the_users_catalog_are_added(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    own = set(read_catalog(path).entries)
    local = ENTRY.replace("mine", "other").replace(f"hf:owner/repo@{'a' * 40}", "file:here/it.gguf")
    path.write_text(ENTRY + local)
    entries = read_catalog(path).entries
    assert set(entries) == own | {"mine", "other"}
    assert entries["mine"].files[0].source == HubSource("owner/repo", "a" * 40, "sub/weights.gguf")
    assert entries["mine"].bundled is None
    assert entries["mine"].download_size == 12
    assert entries["other"].files[0].source == LocalSource(tmp_path / "here/it.gguf")
    assert entries["other"].download_size == 0


def test_the_digest_is_of_the_weights_and_not_of_their_source(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text(ENTRY)
    before = read_catalog(path).entry("mine").digest
    path.write_text(ENTRY.replace("owner/repo", "owner/moved"))
    assert read_catalog(path).entry("mine").digest == before
    path.write_text(ENTRY.replace(DIGEST, "b" * 64))
    assert read_catalog(path).entry("mine").digest != before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("mine", "edge-vlm-135m", "redefines"),
        ("mine", "Mine", "no name for a model"),
        ("mine", '"../x"', "no name for a model"),
        ("models.", "model.", "models"),
        ('description = "d"', "description = 3", "description"),
        ('name = "weights.gguf"', 'name = "../weights"', "name"),
        ('name = "weights.gguf"', 'name = ".hidden"', "name"),
        ("size = 12", "size = -1", "size"),
        ("size = 12", "size = true", "size"),
        ('family = "f"', 'family = "f"\nimages_at_once = 0', "images_at_once"),
        (DIGEST, DIGEST[:-1], "sha256"),
        ("hf:owner/repo@" + "a" * 40, "hf:owner/repo@main", "source"),
        ("hf:owner/repo@" + "a" * 40, "pypi:name", "source"),
        ("hf:owner/repo@" + "a" * 40, "pypi:name==1.0", "archive"),
        ("hf:owner/repo@" + "a" * 40, "https://example.org", "source"),
        ("hf:owner/repo@" + "a" * 40, "file:", "source"),
        ('path = "sub', 'other = "sub', "path"),
        ("[models.mine.files.weights]", "[models.mine.weights]", "files"),
        ("[models.mine]", "[models.mine", "not TOML"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in ENTRY
    with pytest.raises(UserError, match=says) as caught:
        read(tmp_path, ENTRY.replace(old, new))
    assert str(tmp_path) in str(caught.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="same name"):
        read(tmp_path, ENTRY + ENTRY[ENTRY.index("[models.mine.files") :].replace("weights]", "other]"))
