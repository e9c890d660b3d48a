"""Removal of unused files from the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from models.core.cache import mark_used, remove_other_versions, remove_packed, remove_unused

DAY = 86400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for folder in ("packed", "compiled"):
        (tmp_path / folder).mkdir()
    return tmp_path


def put(file: Path, age_days: float) -> Path:
    file.write_bytes(b"12345")
    then = time.time() - age_days * DAY
    os.utime(file, (then, then))
    return file


def test_unused_files_are_removed_and_locks_stay(cache: Path) -> None:
    old = [put(cache / "packed" / "aa-v1.pack", 61), put(cache / "compiled" / "llama-avx2-bb.binx7", 61)]
    kept = [put(cache / "packed" / "aa-v1.lock", 61), put(cache / "compiled" / "llama-avx2-cc.bin", 59)]
    assert remove_unused(cache) == 10
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in kept)
    assert remove_unused(cache / "not there") == 0


def test_a_used_file_is_kept(cache: Path) -> None:
    file = put(cache / "compiled" / "vision-avx2-dd.bin", 61)
    mark_used(file)
    assert remove_unused(cache) == 0
    assert file.exists()
    mark_used(cache / "not there")


def test_removing_a_models_packed_weights_keeps_those_of_others(cache: Path) -> None:
    mine, other = "0" * 64, "1" * 64
    for digest in (mine, other):
        put(cache / "packed" / f"{digest[:32]}-v1.pack", 0)
    assert remove_packed(cache, mine) == 5
    assert [file.name for file in (cache / "packed").iterdir()] == [f"{other[:32]}-v1.pack"]


def test_what_other_versions_made_of_the_same_weights_goes_and_all_else_stays(cache: Path) -> None:
    names = (
        "aa-v1.pack",
        "aa-v3.pack",
        "aa-v2.pack",
        "aa-v1.lock",
        "aa-float-v1.pack",
        "bb-v1.pack",
        "aa-v1x.pack",
    )
    files = {name: put(cache / "packed" / name, 0) for name in names}
    assert remove_other_versions(files["aa-v2.pack"]) == 10
    assert {name for name, file in files.items() if not file.exists()} == {"aa-v1.pack", "aa-v3.pack"}
    assert remove_other_versions(cache / "packed" / "cc-v1.pack") == 0
