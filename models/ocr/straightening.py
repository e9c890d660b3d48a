"""Sets a page straight: the angle of its lines, from the corners that the detector gives, and boxes turned back by it.

Angles are in degrees, positive where lines run downwards to the right. Corners are pixels, [lines, 4, 2] as x, y, in
the order left top, right top, right bottom, left bottom.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.core.types import Box

LEAST_TILT: Final = 2.0
"""Pages tilted by less are left as they are, because rows follow such a tilt. The angle that the rounding of corners to
pixels can make comes on top."""

WORD_SHAPE: Final = 0.18
"""How far the box around a word may rise or fall along the word, in multiples of its height. Upright words such as
"Rowing" have boxes that are tilted by up to 3 degrees, all of them the same way."""

LEAST_LINES: Final = 5
"""An angle is told from at least so many long lines."""

_LONG: Final = 2.0
"""The length of a line that shows an angle, in multiples of its height."""

_SIDEWAYS: Final = 0.8
"""The share of the long lines of a page that lies sideways. A chart with vertical labels has fewer."""

_AGREEING: Final = 0.6
"""The share of the long lines, by length, that run within _SPREAD of a page's angle."""

_SPREAD: Final = 3.0

Corners = NDArray[np.float64]


def lies_sideways(corners: Corners) -> bool:
    """Whether lines run up or down: the page is turned by about 90 or 270 degrees."""
    angles, _, _ = _long_lines(corners)
    return len(angles) >= LEAST_LINES and float((np.abs(angles) > 45).mean()) >= _SIDEWAYS


def across(corners: Corners) -> list[int]:
    """The numbers of the lines that are wider than high."""
    widths, heights = _sides(corners)
    return [int(number) for number in np.flatnonzero(widths > heights)]


def tilt(corners: Corners) -> float:
    """The angle of a page whose lines run across, -45..45; 0 for less than LEAST_TILT or when lines disagree."""
    angles, lengths, heights = _long_lines(corners)
    flat = np.abs(angles) <= 45
    if flat.sum() < LEAST_LINES:
        return 0.0
    order = np.argsort(angles[flat])
    ordered, weights = angles[flat][order], lengths[flat][order].cumsum()
    middle = int(np.searchsorted(weights, weights[-1] / 2))
    median, rounding = float(ordered[middle]), math.degrees(1 / lengths[flat][order][middle])
    ratios = (lengths / heights)[flat]
    of_words = math.degrees(math.atan(WORD_SHAPE / float(np.median(ratios))))
    agreeing = lengths[np.abs(angles - median) <= _SPREAD].sum() / lengths.sum()
    least = max(LEAST_TILT + rounding, of_words)
    return median if abs(median) >= least and agreeing >= _AGREEING else 0.0


def boxes_of(corners: Corners, angle: float, width: int, height: int) -> list[Box]:
    """The boxes around lines after the page is turned back by its angle, as shares of the turned image's sides."""
    size = np.array([width, height], np.float64)
    if angle:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        back = np.array([[cosine, -sine], [sine, cosine]])  # (x, y) @ back turns by -angle
        turned_size = size @ np.abs(back)
        corners, size = (corners - size / 2) @ back + turned_size / 2, turned_size
    shares = corners / size
    low, high = shares.min(axis=1).clip(0, 1), shares.max(axis=1).clip(0, 1)
    return [(float(a[0]), float(a[1]), float(b[0]), float(b[1])) for a, b in zip(low, high, strict=True)]


def _long_lines(corners: Corners) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Angles, -90..90, lengths and heights, pixels, of the lines that are at least _LONG times as long as high."""
    widths, heights = _sides(corners)
    along = np.where(
        (widths >= heights)[:, None], corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    )
    lengths = np.maximum(widths, heights)
    long = lengths >= _LONG * np.minimum(widths, heights)
    angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    return ((angles + 90) % 180 - 90)[long], lengths[long], np.maximum(np.minimum(widths, heights), 1)[long]


def _sides(corners: Corners) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths, pixels, of the upper and the left sides."""
    return np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1), np.linalg.norm(
        corners[:, 3] - corners[:, 0], axis=1
    )
