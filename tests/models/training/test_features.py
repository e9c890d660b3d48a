"""The cache of a training's image features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")

from models.training.features import TrainingFeatures, cached

pytestmark = pytest.mark.train

IMAGES = ("one.png", "two.png")


def made(value: float) -> TrainingFeatures:
    return TrainingFeatures(
        IMAGES, np.full((2, 1280), value, np.float32), np.full((2, 128), value, np.float32)
    )


def test_features_are_made_once_for_the_same_images(tmp_path: Path) -> None:
    cache = tmp_path / "work" / "features.npz"
    assert cached(cache, lambda: made(1), IMAGES).pool[0, 0] == 1
    assert cached(cache, lambda: made(2), IMAGES).pool[0, 0] == 1
    assert cached(cache, lambda: made(3), IMAGES[::-1]).pool[0, 0] == 3


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_features_in_a_file_that_was_cut_are_made_again(tmp_path: Path, share: float) -> None:
    cache = tmp_path / "features.npz"
    cached(cache, lambda: made(1), IMAGES)
    content = cache.read_bytes()
    cache.write_bytes(content[: int(len(content) * share)])
    assert cached(cache, lambda: made(2), IMAGES).pool[0, 0] == 2
    assert cached(cache, lambda: made(3), IMAGES).pool[0, 0] == 2
