"""The frozen vision tower's features of training images, computed once and kept in a file outside the repository.

The image sets are JSON lines with the keys "image" and "split".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import DAMAGED_NPZ, replacing
from models.core.images import load_image
from models.training.tower import EfficientNetLite2
from models.vision.preprocess import prepare

Row = dict[str, Any]


@dataclass(frozen=True)
class TrainingFeatures:
    """Features of n images. pool: float32 [n, 1280], the mean of both views. colour: float32 [n, 128]."""

    images: tuple[str, ...]
    pool: NDArray[np.float32]
    colour: NDArray[np.float32]


def read_rows(path: Path, split: str) -> Iterator[Row]:
    """The rows of one split. Raises UserError when the file is missing."""
    if not path.is_file():
        raise UserError(f"No image set at {path}: --data must name the folder that holds {path.name}.")
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row: Row = json.loads(line)
            if row["split"] == split:
                yield row


def compute(
    tower: EfficientNetLite2, folder: Path, images: Sequence[str], progress: Callable[[str], None]
) -> TrainingFeatures:
    """Run both views of each image under `folder` through the tower, one image at a time."""
    pools, colours = [], []
    for index, name in enumerate(images):
        prepared = prepare(load_image(folder / name).pixels)
        views = torch.from_numpy(prepared.views).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            pools.append(tower(views).pool.mean(0).numpy())
        colours.append(prepared.colour)
        if index % 50 == 49:
            progress(f"features: {index + 1} of {len(images)} images")
    return TrainingFeatures(tuple(images), np.stack(pools), np.stack(colours))


def cached(cache: Path, make: Callable[[], TrainingFeatures], images: Sequence[str]) -> TrainingFeatures:
    """The features from the file `cache` if it has exactly these images. Otherwise they are made and written to it.

    A damaged file is replaced.
    """
    try:
        with np.load(cache, allow_pickle=False) as stored:
            if tuple(stored["images"].tolist()) == tuple(images):
                return TrainingFeatures(tuple(images), stored["pool"], stored["colour"])
    except DAMAGED_NPZ:
        pass  # it is missing too on the first run
    features = make()
    cache.parent.mkdir(parents=True, exist_ok=True)
    with replacing(cache) as file:
        np.savez(file, images=np.array(images), pool=features.pool, colour=features.colour)
    return features
