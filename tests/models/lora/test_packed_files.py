"""Packed adapters on disk: a file maps to what was written, and any other file counts as missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed import workload
from models.lora.packed_files import PackedFiles, forget
from models.lora.weights import PackedLora, pack_lora
from tests.adapters.folders import SHAPE

FIRST, SECOND = ((1, 100, 7),), ((2, 100, 8),)
MODEL, OTHER_MODEL = "a" * 64, "b" * 64


@pytest.fixture
def packed() -> PackedLora:
    return pack_lora(SHAPE, workload.adapter(SHAPE, "mine", 0, 20))


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_what_was_written_is_mapped_with_everything_it_needs(tmp_path: Path, packed: PackedLora) -> None:
    kept = PackedFiles(tmp_path / "new", SHAPE, MODEL)
    kept.write(packed, FIRST)
    again = kept.open("mine", FIRST)
    assert again is not None
    assert (again.name, again.generation, again.rank) == ("mine", packed.generation, 32)
    assert np.array_equal(again.tensor, packed.tensor)
    assert again.argument is not None  # aligned and writable, as kernels want it


def test_writing_into_what_is_mapped_never_reaches_the_file(tmp_path: Path, packed: PackedLora) -> None:
    kept = PackedFiles(tmp_path, SHAPE, MODEL)
    kept.write(packed, FIRST)
    first, second = kept.open("mine", FIRST), kept.open("mine", FIRST)
    assert first is not None and second is not None
    first.tensor[:] = 0
    assert np.array_equal(second.tensor, packed.tensor)


def test_another_signature_name_shape_or_model_finds_nothing(tmp_path: Path, packed: PackedLora) -> None:
    kept = PackedFiles(tmp_path, SHAPE, MODEL)
    kept.write(packed, FIRST)
    assert kept.open("mine", SECOND) is None
    assert kept.open("yours", FIRST) is None
    assert PackedFiles(tmp_path, replace(SHAPE, layers=3), MODEL).open("mine", FIRST) is None
    assert PackedFiles(tmp_path, SHAPE, OTHER_MODEL).open("mine", FIRST) is None


@pytest.mark.parametrize("at", [0, 13, 60, 4096, -1])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, packed: PackedLora, at: int) -> None:
    kept = PackedFiles(tmp_path, SHAPE, MODEL)
    kept.write(packed, FIRST)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert kept.open("mine", FIRST) is None
    for length in (0, 10, 4096, len(content) - 1):
        file.write_bytes(content[:length])
        assert kept.open("mine", FIRST) is None


def test_only_the_latest_version_of_an_adapter_is_kept(tmp_path: Path, packed: PackedLora) -> None:
    kept = PackedFiles(tmp_path, SHAPE, MODEL)
    for name in ("mine", "mine-too"):
        kept.write(replace(packed, name=name), FIRST)
    kept.write(packed, SECOND)
    assert len(files(tmp_path)) == 2
    assert kept.open("mine", SECOND) and kept.open("mine-too", FIRST)
    PackedFiles(tmp_path, SHAPE, OTHER_MODEL).write(packed, SECOND)
    assert kept.open("mine", SECOND), "another model's file does not take the place of this one's"
    forget(tmp_path, "mine")
    assert [name[:9] for name in files(tmp_path)] == ["mine-too-"]


def test_files_of_other_versions_of_the_format_are_removed(tmp_path: Path, packed: PackedLora) -> None:
    kept = PackedFiles(tmp_path, SHAPE, MODEL)
    old = [tmp_path / f"mine-{'0' * 32}.lora", tmp_path / f"mine-{'a' * 32}-v1.lora"]
    other = tmp_path / f"mine-too-{'0' * 32}.lora"
    for file in (*old, other):
        file.write_bytes(b"old")
    kept.write(packed, FIRST)
    assert [file.exists() for file in (*old, other)] == [False, False, True]
    assert kept.open("mine", FIRST) is not None


def test_errors_of_the_disk_are_ignored(tmp_path: Path, packed: PackedLora) -> None:
    (tmp_path / "file").write_text("")
    kept = PackedFiles(tmp_path / "file", SHAPE, MODEL)
    kept.write(packed, FIRST)
    assert kept.open("mine", FIRST) is None
