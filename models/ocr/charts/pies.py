"""Finds the labels of a pie chart: a percentage with each label, around a circle or in a legend beside it.

Percentages that add up to a whole are no chart by themselves: a fabric label, a recipe and a table have them too.
They must stand where a pie's labels stand. In a ring, each label is at the middle of its slice, which follows from
the percentages. In a legend, the labels form a column of their own beside the space that the pie takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from models.core.types import TextLine

LEAST_SLICES: Final = 3

_SHARE: Final = re.compile(r"(?P<label>.*[^\d\s.,].*?)\s*(?<![\d.,])(?P<share>\d{1,2}(?:[.,]\d+)?)%")
_WHOLE: Final = (97, 103)  # what the percentages of a pie add up to
_MINUS: Final = ("-", "–", "−")

# A ring is an ellipse in shares of the image's width and height.
_RADIUS: Final = (0.25, 0.6)  # of the labels' centres, horizontal and vertical
# Largest radius as a multiple of the smallest. A circle is an ellipse in shares of an image that is not square.
_ELONGATION: Final = 2.0
# Tolerance between a label's centre and its place on the ellipse. It includes half of the label's width.
_OFF_RING: Final = 0.1
_TURNS: Final = 180  # angles that are tried for the beginning of the first slice

# Shares of the image's width, unless another unit is named.
_LEGEND_EDGE: Final = 0.03  # between the left edges of a legend's labels
_LEGEND_LEFT: Final = 0.65  # least left edge of a legend
_UNEVEN: Final = 0.15  # of the mean distance between labels


@dataclass(frozen=True)
class Slice:
    """text: of the label, without its percentage. share: in percent."""

    text: str
    share: float
    line: TextLine


def find_slices(lines: Sequence[TextLine]) -> list[Slice]:
    """The slices of a pie, in the order of the lines; empty when the page shows none, or one was not read whole."""
    slices = [found for line in lines if (found := _slice(line)) is not None]
    percentages = sum(line.text.count("%") for line in lines)
    if len(slices) < LEAST_SLICES or len(slices) != percentages:
        return []
    if not _WHOLE[0] <= sum(each.share for each in slices) <= _WHOLE[1]:
        return []
    labels = {each.line for each in slices}
    others = [line for line in lines if line not in labels]
    return slices if _form_ring(slices) or _form_legend([each.line for each in slices], others) else []


def _slice(line: TextLine) -> Slice | None:
    match = _SHARE.fullmatch(line.text.strip())
    if match is None or match["label"].endswith(_MINUS):
        return None
    return Slice(match["label"], float(match["share"].replace(",", ".")), line)


def _form_ring(slices: Sequence[Slice]) -> bool:
    """Whether each label is at the middle of its slice of one ellipse.

    The labels are taken in the order of their angles, clockwise from the left. The shares then give the angle of
    each slice's middle, up to the angle at which the first slice begins, of which _TURNS values are tried. For each,
    two linear regressions give the best ellipse: x = cx + rx cos(angle) and y = cy + ry sin(angle).
    """
    mean_x = sum(each.line.centre[0] for each in slices) / len(slices)
    mean_y = sum(each.line.centre[1] for each in slices) / len(slices)
    ring = sorted(
        slices, key=lambda each: math.atan2(each.line.centre[1] - mean_y, each.line.centre[0] - mean_x)
    )
    xs, ys = zip(*(each.line.centre for each in ring), strict=True)
    whole, before, middles = sum(each.share for each in ring), 0.0, []
    for each in ring:
        middles.append(math.tau * (before + each.share / 2) / whole)
        before += each.share
    for turn in range(_TURNS):
        angles = [middle + math.tau * turn / _TURNS for middle in middles]
        rx, off_x = _fit_line([math.cos(angle) for angle in angles], xs)
        ry, off_y = _fit_line([math.sin(angle) for angle in angles], ys)
        small, large = min(rx, ry), max(rx, ry)
        is_round = _RADIUS[0] <= small and large <= min(_RADIUS[1], _ELONGATION * small)
        if is_round and max(off_x, off_y) <= _OFF_RING:
            return True
    return False


def _fit_line(inputs: Sequence[float], outputs: Sequence[float]) -> tuple[float, float]:
    """Least squares: (slope, largest distance of an output from the line)."""
    mean_in, mean_out = sum(inputs) / len(inputs), sum(outputs) / len(outputs)
    spread = sum((value - mean_in) ** 2 for value in inputs)
    if spread == 0:
        return 0.0, math.inf
    pairs = [(x - mean_in, y - mean_out) for x, y in zip(inputs, outputs, strict=True)]
    slope = sum(x * y for x, y in pairs) / spread
    return slope, max(abs(y - slope * x) for x, y in pairs)


def _form_legend(labels: Sequence[TextLine], others: Sequence[TextLine]) -> bool:
    """Whether the labels are an even column at the right, with no other text in it or to its left.

    A single character to its left is a pie that was read as a letter.
    """
    column = sorted(labels, key=lambda line: line.centre[1])
    left, right = min(line.box[0] for line in column), max(line.box[2] for line in column)
    if left < _LEGEND_LEFT or max(line.box[0] for line in column) - left > _LEGEND_EDGE:
        return False
    heights = [line.centre[1] for line in column]
    mean = (heights[-1] - heights[0]) / (len(heights) - 1)
    if any(abs(below - above - mean) > _UNEVEN * mean for above, below in pairwise(heights)):
        return False
    return not any(
        (line.box[0] < right and line.box[2] > left)
        or (len(line.text.strip()) > 1 and heights[0] <= line.centre[1] <= heights[-1])
        for line in others
    )
