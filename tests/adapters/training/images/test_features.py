"""Features of training images are computed once, and again where their file is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest

from adapters.training.data import TrainingRow
from adapters.training.images.features import FeatureCache
from models.core.files import file_digest
from models.core.types import Image
from models.vision.efficientnet import HEAD_CHANNELS
from models.vision.tower import TowerFeatures, VisionTower


class CountingTower:
    """Stands for a vision tower: features that follow from the first pixel. runs: how often it was asked."""

    def __init__(self) -> None:
        self.runs = 0

    def features(self, image: Image, maps: bool = False) -> TowerFeatures:
        self.runs += 1
        value = float(image.pixels[0, 0, 0])
        stages = {"s8": np.full((1089, 48), value), "s16": np.full((289, 120), value)} if maps else {}
        pool, grid = np.full(HEAD_CHANNELS, value), np.zeros((81, HEAD_CHANNELS))
        return TowerFeatures(pool, grid, np.full(128, value), cast(dict[str, Any], stages))


@pytest.fixture
def row(tmp_path: Path) -> TrainingRow:
    file = tmp_path / "a.png"
    PIL.Image.new("RGB", (8, 8), (7, 0, 0)).save(file)
    return TrainingRow(file, file_digest(file), "Which?", "this", "answer", "train", "line 1", "rows")


def features(tower: CountingTower, row: TrainingRow, folder: Path) -> TowerFeatures:
    return FeatureCache(cast(VisionTower, tower), "f" * 64, folder).of([row], lambda *_: None)[row.digest]


def test_features_are_computed_once(row: TrainingRow, tmp_path: Path) -> None:
    tower = CountingTower()
    first, second = (features(tower, row, tmp_path) for _ in range(2))
    assert tower.runs == 1
    np.testing.assert_array_equal(first.pool, second.pool)
    np.testing.assert_array_equal(first.stages["s8"], second.stages["s8"])
    assert (first.pool == 7).all() and (first.stages["s16"] == 7).all()


@pytest.mark.parametrize("left", [0, 10, 500, -1])
def test_a_damaged_file_is_made_again(row: TrainingRow, tmp_path: Path, left: int) -> None:
    tower = CountingTower()
    expected = features(tower, row, tmp_path)
    (file,) = tmp_path.rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    np.testing.assert_array_equal(features(tower, row, tmp_path).pool, expected.pool)
    assert tower.runs == 2
    assert len(file.read_bytes()) == len(whole)
