"""A packed vision tower: the same numbers as from the checkpoint, and never one that does not fit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.core.errors import UserError
from models.formats.torch_checkpoint import read_checkpoint
from models.hub.store import ModelFiles
from models.vision.efficientnet import PackedTower, pack_tower
from models.vision.tower_file import load_or_pack_tower, open_tower


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_files: ModelFiles) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    load_or_pack_tower(checkpoint(model_files), digest(model_files), folder)
    return folder


def checkpoint(files: ModelFiles) -> Path:
    return files.files["vision_tower"]


def digest(files: ModelFiles) -> str:
    return files.digests["vision_tower"]


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def layers(tower: PackedTower) -> PackedTower:
    nothing = np.zeros(0, np.float32)
    return replace(tower, weights=nothing, classifier=nothing, classifier_bias=nothing)


def test_the_packed_tower_is_the_checkpoint_to_the_bit(folder: Path, model_files: ModelFiles) -> None:
    made = pack_tower(read_checkpoint(checkpoint(model_files)))
    kept = open_tower(only_file(folder), digest(model_files))
    assert kept is not None
    for name in ("weights", "classifier", "classifier_bias"):
        assert np.array_equal(getattr(kept, name), getattr(made, name))
        assert getattr(kept, name).ctypes.data % 64 == 0
    assert repr(layers(kept)) == repr(layers(made))


def test_a_second_load_needs_no_checkpoint(folder: Path, model_files: ModelFiles, tmp_path: Path) -> None:
    tower = load_or_pack_tower(tmp_path / "gone.pth", digest(model_files), folder)
    assert len(tower.blocks) == 21


@pytest.mark.parametrize("at", [0, 13, 80, 4096, 1_000_000, -1])
def test_a_damaged_file_is_made_again(folder: Path, model_files: ModelFiles, tmp_path: Path, at: int) -> None:
    copy = tmp_path / only_file(folder).name
    shutil.copy(only_file(folder), copy)
    content = bytearray(copy.read_bytes())
    content[at] ^= 0xFF
    copy.write_bytes(content)
    assert open_tower(copy, digest(model_files)) is None
    load_or_pack_tower(checkpoint(model_files), digest(model_files), tmp_path)
    assert copy.read_bytes() == only_file(folder).read_bytes()


def test_a_shortened_or_empty_file_is_not_there(
    folder: Path, model_files: ModelFiles, tmp_path: Path
) -> None:
    content = only_file(folder).read_bytes()
    for size in (0, 100, 4096, 5000, len(content) - 4):
        (tmp_path / "x.pack").write_bytes(content[:size])
        assert open_tower(tmp_path / "x.pack", digest(model_files)) is None


def test_a_changed_checkpoint_is_refused_before_it_is_packed(model_files: ModelFiles, tmp_path: Path) -> None:
    changed = bytearray(checkpoint(model_files).read_bytes())
    changed[len(changed) // 2] ^= 1
    (tmp_path / "tower.pth").write_bytes(changed)
    with pytest.raises(UserError, match="damaged"):
        load_or_pack_tower(tmp_path / "tower.pth", digest(model_files), tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
