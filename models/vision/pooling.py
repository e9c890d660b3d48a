"""What a projector's head may read: the tower's features by name, maps pooled by place.

"pool" and "colour" are features as they are. "<map>.<mean|max><n>" divides a map (grid, s8 or s16) into n x n
cells, row by row, and takes each channel's mean or maximum in each: s8.max4 has 4 * 4 * 48 numbers. Knows
nothing of heads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from models.vision.efficientnet import HEAD_CHANNELS
from models.vision.preprocess import COLOUR_BINS

if TYPE_CHECKING:
    from models.vision.tower import TowerFeatures

MAPS: dict[str, tuple[int, int]] = {"grid": (9, HEAD_CHANNELS), "s8": (33, 48), "s16": (17, 120)}
"""Maps of models.vision.tower.TowerFeatures: places a side, and channels."""

MAX_CELLS = 9
"""Cells a side of the finest division."""

Pooling = Literal["mean", "peaks"]
"""What becomes of a hidden layer at every place of a map, see `pooled`."""

_WHOLE = {"pool": HEAD_CHANNELS, "colour": COLOUR_BINS}
_POOLED = re.compile(rf"(?P<map>{'|'.join(MAPS)})\.(?P<how>mean|max)(?P<cells>[1-{MAX_CELLS}])")

FEATURES = f'"pool", "colour" and, for the maps {", ".join(MAPS)}, names like "s8.mean1" or "s16.max4"'
"""For messages."""


def feature_size(name: str) -> int | None:
    """How many numbers the feature has; None when there is no such feature."""
    if name in _WHOLE:
        return _WHOLE[name]
    match = _POOLED.fullmatch(name)
    return MAPS[match["map"]][1] * int(match["cells"]) ** 2 if match else None


def feature(features: TowerFeatures, name: str) -> NDArray[np.float32]:
    """float32 [feature_size(name)]. name: of a feature that exists."""
    if name in _WHOLE:
        values: NDArray[np.float32] = getattr(features, name)
        return values
    match = _POOLED.fullmatch(name)
    assert match is not None, name
    return cells(map_of(features, match["map"]), int(match["cells"]), match["how"])


def map_of(features: TowerFeatures, name: str) -> NDArray[np.float32]:
    """float32 [places, channels] of one of MAPS."""
    return features.grid if name == "grid" else features.stages[name]


def cells(places: NDArray[np.float32], division: int, how: str) -> NDArray[np.float32]:
    """A map [side * side, channels] as "mean" or "max" of division x division cells, flat, cell by cell."""
    side = round(len(places) ** 0.5)
    starts = [index * side // division for index in range(division)]
    combine = np.maximum if how == "max" else np.add
    square = places.reshape(side, side, -1)
    pooled = combine.reduceat(combine.reduceat(square, starts, axis=0), starts, axis=1)
    if how == "mean":
        sizes = np.diff([*starts, side]).astype(np.float32)
        pooled = pooled / (sizes[:, None, None] * sizes[None, :, None])
    flat: NDArray[np.float32] = pooled.reshape(-1)
    return flat


def pooled(places: NDArray[np.float32], division: int, pooling: Pooling) -> NDArray[np.float32]:
    """A hidden layer at every place [side * side, hidden] as float32 [pooled_size(hidden, ...)].

    "mean": the mean in each of division x division cells, cell by cell. "peaks": the largest value anywhere,
    which tells whether a thing is there at all, however small it is; then the mean over the cells of the
    largest in each, which grows with the number of things that lie apart.
    """
    if pooling == "mean":
        return cells(places, division, "mean")
    highest = cells(places, division, "max").reshape(division**2, -1)
    return np.concatenate([highest.max(0), highest.mean(0)])


def pooled_size(hidden: int, division: int, pooling: Pooling) -> int:
    """How many numbers `pooled` makes of `hidden` units."""
    return hidden * (division**2 if pooling == "mean" else 2)
