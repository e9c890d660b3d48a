"""The vision tower's features of the training images, computed once and cached.

They are computed by the compiled tower that the engine also answers with, so that training and inference use the same
numbers. Maps are stored in half precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.training.data import TrainingRow
from models.core.errors import UserError
from models.core.files import DAMAGED_NPZ, replacing
from models.core.types import Image
from models.documents.pages import load_page
from models.vision.efficientnet import HEAD_CHANNELS
from models.vision.tower import TowerFeatures, VisionTower

VERSION = 1
"""Version of the cached features. Increase it when the preparation of images or the tower changes."""

MAPS = ("s8", "s16")


class FeatureCache:
    """Features by image digest, a file each. Belongs to one thread, as the tower does."""

    def __init__(self, tower: VisionTower, identity: str, cache_dir: Path) -> None:
        """identity: digest (hex) of the tower's weights, part of the name of the cache's folder."""
        self._tower = tower
        self._folder = cache_dir / "features" / f"{identity[:16]}-{VERSION}"

    def of(
        self, rows: Sequence[TrainingRow], progress: Callable[[int, int], None]
    ) -> dict[str, TowerFeatures]:
        """The features of every image of the rows, by digest.

        progress: called with the number of images done and of all.
        Raises UserError, naming the line, for an image that cannot be decoded.
        """
        first = {row.digest: row for row in reversed(rows)}
        found = {}
        for done, (digest, row) in enumerate(first.items(), 1):
            found[digest] = self._one(row)
            progress(done, len(first))
        return found

    def _one(self, row: TrainingRow) -> TowerFeatures:
        """The features of one image, from its file or computed now and written."""
        file = self._folder / row.digest[:2] / f"{row.digest}.npz"
        try:
            with np.load(file, allow_pickle=False) as stored:
                maps = {name: stored[name].astype(np.float32) for name in MAPS}
                return _features(stored["pool"], stored["colour"], maps)
        except FileNotFoundError:
            pass
        except DAMAGED_NPZ:
            file.unlink()  # damaged, so the features are computed again
        seen = self._tower.features(load_training_image(row), maps=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        halves: dict[str, Any] = {name: seen.stages[name].astype(np.float16) for name in MAPS}
        with replacing(file) as stream:
            np.savez(stream, pool=seen.pool, colour=seen.colour, **halves)
        maps = {name: half.astype(np.float32) for name, half in halves.items()}
        return _features(seen.pool, seen.colour, maps)


def load_training_image(row: TrainingRow) -> Image:
    """The row's image. Raises UserError, naming the line, when it cannot be decoded."""
    try:
        return replace(load_page(row.image), detail=row.detail)
    except UserError as error:
        raise UserError(f"{row.place}: {error}") from None


def _features(
    pool: NDArray[np.float32], colour: NDArray[np.float32], maps: dict[str, NDArray[np.float32]]
) -> TowerFeatures:
    """TowerFeatures with an empty grid, which no head that is fitted here reads."""
    return TowerFeatures(pool, np.zeros((0, HEAD_CHANNELS), np.float32), colour, maps)
