"""Sets a page straight: the angle of its lines, from the corners that the detector gives, and boxes turned back by it.

In the photo of a page lines are not parallel: their angle changes from the top to the bottom. A small angle, and that
change, are taken from the lines as far as they put the items of rows beside each other more exactly (`_alignment`).

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
"""Pages tilted by less are turned back only when that puts their rows in line. The angle that the rounding of corners
to pixels can make comes on top."""

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

_BETTER: Final = 1.05
"""By this factor a small angle has to raise the alignment of rows. Words alone make such angles too."""

_MOST_COMPARED: Final = 400
"""Lines of a page that are compared with each other, the longest ones."""

Corners = NDArray[np.float64]


def lies_sideways(corners: Corners) -> bool:
    """Whether lines run up or down: the page is turned by about 90 or 270 degrees."""
    angles, *_ = _long_lines(corners)
    return len(angles) >= LEAST_LINES and float((np.abs(angles) > 45).mean()) >= _SIDEWAYS


def across(corners: Corners) -> list[int]:
    """The numbers of the lines that are wider than high."""
    widths, heights = _sides(corners)
    return [int(number) for number in np.flatnonzero(widths > heights)]


def tilt(corners: Corners) -> float:
    """The angle of a page whose lines run across, -45..45; 0 for less than LEAST_TILT or when lines disagree."""
    angle, least = _angle(corners)
    return angle if abs(angle) >= least else 0.0


def straight_boxes(corners: Corners, width: int, height: int) -> list[Box]:
    """The boxes around the lines of a page that is set straight, as shares of the sides of its image."""
    turned = tilt(corners)
    if not turned:
        angle, _ = _angle(corners)
        if _alignment(_turned(corners, angle, (width, height))[0]) > _BETTER * _alignment(corners):
            turned = angle
    return _as_boxes(*_levelled(*_turned(corners, turned, (width, height))))


def boxes_of(corners: Corners, angle: float, width: int, height: int) -> list[Box]:
    """The boxes around lines after the page is turned back by its angle, as shares of the turned image's sides."""
    return _as_boxes(*_turned(corners, angle, (width, height)))


def _turned(corners: Corners, angle: float, sides: tuple[int, int]) -> tuple[Corners, Corners]:
    """Corners after the page is turned back by an angle, and the turned image's width and height, [2]."""
    size = np.array(sides, np.float64)
    if not angle:
        return corners, size
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    back = np.array([[cosine, -sine], [sine, cosine]])  # (x, y) @ back turns by -angle
    turned_size = size @ np.abs(back)
    return (corners - size / 2) @ back + turned_size / 2, turned_size


def _levelled(corners: Corners, size: Corners) -> tuple[Corners, Corners]:
    """Each line moved up or down by the angle of the lines at its height, where that raises the alignment of rows."""
    angles, lengths, _, middles = _long_lines(corners)
    near = np.abs(angles) <= _SPREAD
    if near.sum() < LEAST_LINES or np.ptp(middles[near]) < 1:
        return corners, size
    slope, level = np.polyfit(middles[near], np.tan(np.radians(angles[near])), 1, w=lengths[near])
    centres = corners.mean(axis=1)
    rise = (slope * centres[:, 1] + level) * (centres[:, 0] - size[0] / 2)
    levelled = corners - np.stack([np.zeros_like(rise), rise], axis=1)[:, None]
    return (levelled if _alignment(levelled) > _BETTER * _alignment(corners) else corners), size


def _as_boxes(corners: Corners, size: Corners) -> list[Box]:
    shares = corners / size
    low, high = shares.min(axis=1).clip(0, 1), shares.max(axis=1).clip(0, 1)
    return [(float(a[0]), float(a[1]), float(b[0]), float(b[1])) for a, b in zip(low, high, strict=True)]


def _alignment(corners: Corners) -> float:
    """How exactly lines stand beside each other: the sum, over all pairs that are apart in x, of 1 for middles at one
    height down to 0 for middles that differ by half of the smaller line's height."""
    widths, heights = _sides(corners)
    longest = np.argsort(-widths, kind="stable")[:_MOST_COMPARED]
    left, right = corners[longest, :, 0].min(axis=1), corners[longest, :, 0].max(axis=1)
    middle, height = corners[longest, :, 1].mean(axis=1), heights[longest]
    apart = left[:, None] > right[None]
    off = np.abs(middle[:, None] - middle[None]) / np.maximum(np.minimum(height[:, None], height[None]), 1)
    return float((apart * np.maximum(1 - 2 * off, 0)).sum())


def _angle(corners: Corners) -> tuple[float, float]:
    """The angle of a page whose lines run across, 0 when they disagree; and the least one that is surely no effect of
    the shapes of words and of rounding."""
    angles, lengths, heights, _ = _long_lines(corners)
    flat = np.abs(angles) <= 45
    if flat.sum() < LEAST_LINES:
        return 0.0, LEAST_TILT
    order = np.argsort(angles[flat])
    ordered, weights = angles[flat][order], lengths[flat][order].cumsum()
    middle = int(np.searchsorted(weights, weights[-1] / 2))
    median, rounding = float(ordered[middle]), math.degrees(1 / lengths[flat][order][middle])
    ratios = (lengths / heights)[flat]
    of_words = math.degrees(math.atan(WORD_SHAPE / float(np.median(ratios))))
    agreeing = lengths[np.abs(angles - median) <= _SPREAD].sum() / lengths.sum()
    return (median if agreeing >= _AGREEING else 0.0), max(LEAST_TILT + rounding, of_words)


def _long_lines(corners: Corners) -> tuple[NDArray[np.float64], ...]:
    """Angles, -90..90, lengths, heights, and y of the middles, pixels, of the lines that are at least _LONG times as
    long as high."""
    widths, heights = _sides(corners)
    along = np.where(
        (widths >= heights)[:, None], corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    )
    lengths, thickness = np.maximum(widths, heights), np.minimum(widths, heights)
    long = lengths >= _LONG * thickness
    angles = (np.degrees(np.arctan2(along[:, 1], along[:, 0])) + 90) % 180 - 90
    return angles[long], lengths[long], np.maximum(thickness, 1)[long], corners[long].mean(axis=1)[:, 1]


def _sides(corners: Corners) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths, pixels, of the upper and the left sides."""
    return np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1), np.linalg.norm(
        corners[:, 3] - corners[:, 0], axis=1
    )
