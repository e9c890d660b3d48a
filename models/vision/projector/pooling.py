"""The features that a projector head can read, by name.

"pool" and "colour" are the vision tower's features of that name. "<map>.<mean|max><n>" divides a map (grid, s8 or
s16) into n x n cells, row by row, and takes the mean or the maximum of each channel in each cell: s8.max4 has
4 * 4 * 48 values.
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
"""(side, channels) of each map of models.vision.tower.TowerFeatures, which is [side * side, channels]."""

MAX_CELLS = 9
"""The finest division of a map is MAX_CELLS x MAX_CELLS cells."""

Pooling = Literal["mean", "peaks"]
"""The pooling of a hidden layer over the positions of a map (see `pooled`)."""

_WHOLE = {"pool": HEAD_CHANNELS, "colour": COLOUR_BINS}
_POOLED = re.compile(rf"(?P<map>{'|'.join(MAPS)})\.(?P<how>mean|max)(?P<cells>[1-{MAX_CELLS}])")

FEATURES = f'"pool", "colour" and, for the maps {", ".join(MAPS)}, names like "s8.mean1" or "s16.max4"'
"""The valid names, for error messages."""


def feature_size(name: str) -> int | None:
    """The length of a feature; None when there is no such feature."""
    if name in _WHOLE:
        return _WHOLE[name]
    match = _POOLED.fullmatch(name)
    return MAPS[match["map"]][1] * int(match["cells"]) ** 2 if match else None


def feature(features: TowerFeatures, name: str) -> NDArray[np.float32]:
    """One feature of an image, float32 [feature_size(name)]. name: a valid name."""
    if name in _WHOLE:
        values: NDArray[np.float32] = getattr(features, name)
        return values
    match = _POOLED.fullmatch(name)
    assert match is not None, name
    return cells(map_of(features, match["map"]), int(match["cells"]), match["how"])


def map_of(features: TowerFeatures, name: str) -> NDArray[np.float32]:
    """One of MAPS, float32 [side * side, channels]."""
    return features.grid if name == "grid" else features.stages[name]


def cells(places: NDArray[np.float32], division: int, how: str) -> NDArray[np.float32]:
    """Pool a map [side * side, channels] over division x division cells.

    how: "mean" or "max". Returns float32 [division * division * channels], cell by cell.
    """
    side = round(len(places) ** 0.5)
    # The sizes of cells differ by at most one row or column.
    starts = [index * side // division for index in range(division)]
    combine = np.maximum if how == "max" else np.add
    square = places.reshape(side, side, -1)
    # reduceat combines from each start to the next: [side, side, c] -> [division, side, c] -> [division, division, c]
    pooled = combine.reduceat(combine.reduceat(square, starts, axis=0), starts, axis=1)
    if how == "mean":
        sizes = np.diff([*starts, side]).astype(np.float32)  # rows (and columns) of each cell
        pooled = pooled / (sizes[:, None, None] * sizes[None, :, None])
    flat: NDArray[np.float32] = pooled.reshape(-1)
    return flat


def pooled(places: NDArray[np.float32], division: int, pooling: Pooling) -> NDArray[np.float32]:
    """Pool a hidden layer [side * side, hidden] to float32 [pooled_size(hidden, division, pooling)].

    pooling: "mean" takes the mean in each of division x division cells, cell by cell. "peaks" takes the maximum
    over the whole map, which detects an object however small it is, followed by the mean over the cells of the
    maximum in each, which grows with the number of separate objects.
    """
    if pooling == "mean":
        return cells(places, division, "mean")
    highest = cells(places, division, "max").reshape(division**2, -1)  # [cells, hidden]
    return np.concatenate([highest.max(0), highest.mean(0)])


def pooled_size(hidden: int, division: int, pooling: Pooling) -> int:
    """The length of the result of `pooled` for a layer of `hidden` units."""
    return hidden * (division**2 if pooling == "mean" else 2)
