"""Charts of columns or points: labels in a row, below the numbers of their columns.

The time is about proportional to the number of lines, because an axis is looked for only among at most MOST_TICKS
numbers that are aligned with each other.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Final

from models.core.types import TextLine
from models.ocr.charts.marks import (
    LEAST_LABELS,
    LEAST_TICKS,
    MOST_TICKS,
    LabelNumbers,
    PageItem,
    Rows,
    Tick,
    as_ticks,
    bare,
)
from models.ocr.printed_numbers import NumberStyle

MOST_LEGEND_LINES: Final = 3
"""Lines of words inside a plot: its legend."""

# Tolerances, as shares of the image's width or height unless another unit is named.
_UNEVEN: Final = 0.15  # of the mean distance between labels
_AXIS_EDGE: Final = 0.015  # width, between the left or right edges of a vertical axis' numbers
_AXIS_RISE: Final = 0.05  # height, least distance between two ticks that define an axis
_AXIS_OFF: Final = 0.02  # height, between a tick and where its number puts it
_PLOT_SPREAD: Final = 0.05  # height, least distance between the highest and the lowest number of a plot


@dataclass(frozen=True)
class ColumnChart:
    """The page with each label beside its numbers.

    rows: of the page, in reading order. ticks: of the vertical axis, from the lowest up; empty without an axis.
    entries: the labels with their numbers; empty unless all have equally many, and at least one.
    """

    rows: list[list[TextLine]]
    ticks: list[Tick]
    entries: list[LabelNumbers]


def find_columns(rows: Rows, style: NumberStyle) -> ColumnChart | None:
    """The chart of columns or points on a page; None when there is none. style: decides which texts are numbers."""
    ticks = _vertical_axis(as_ticks(item for row in rows for item in row))
    on_axis = {tick.line for tick in ticks}
    loose = [[item for item in row if item.line not in on_axis] for row in rows]
    words = [item.line for row in loose for item in row if item.number is None]
    for place in reversed(range(len(loose))):
        labels = _labels(loose[place], style)
        if not labels:
            continue
        numbers = _numbers_above(labels, loose[:place])
        above = [tick for each in numbers for tick in each]
        if not _is_plot([*ticks, *above], labels, words):
            continue
        moved = {tick.line for tick in above}
        left = [[item.line for item in row if item.line not in moved] for row in loose]
        together = [
            [label, *(tick.line for tick in each)] for label, each in zip(labels, numbers, strict=True)
        ]
        table = [
            *left[:place],
            [tick.line for tick in ticks],
            *(together if above else [labels]),
            *left[place + 1 :],
        ]
        return ColumnChart([row for row in table if row], ticks, _column_entries(labels, numbers))
    return None


def _column_entries(labels: Sequence[TextLine], numbers: Sequence[Sequence[Tick]]) -> list[LabelNumbers]:
    """Labels with the numbers above them; empty unless all have equally many, and at least one."""
    counts = {len(each) for each in numbers}
    if len(counts) != 1 or 0 in counts:
        return []
    return [
        LabelNumbers(bare(label.text), tuple(tick.number for tick in each))
        for label, each in zip(labels, numbers, strict=True)
    ]


def _vertical_axis(numbers: Sequence[Tick]) -> list[Tick]:
    """The ticks of a vertical axis, from the lowest up; empty without an axis.

    Two numbers with the same left or right edge define a linear scale. The axis is the scale that the most numbers
    with that edge fit, within _AXIS_OFF.
    """
    best: list[Tick] = []
    for edge in (0, 2):
        by_edge = sorted(enumerate(numbers), key=lambda pair: pair[1].line.box[edge])
        edges = [tick.line.box[edge] for _, tick in by_edge]
        for place, one in enumerate(numbers):
            at = one.line.box[edge]
            near = by_edge[bisect_left(edges, at - _AXIS_EDGE) : bisect_right(edges, at + _AXIS_EDGE)]
            if max(LEAST_TICKS, len(best) + 1) <= len(near) <= MOST_TICKS:
                near.sort()
                aligned = [tick for _, tick in near]
                for other in (tick for index, tick in near if index > place):
                    fitting = _on_scale(one, other, aligned)
                    if len(fitting) >= max(LEAST_TICKS, len(best) + 1):
                        best = sorted(fitting, key=lambda tick: tick.number)
    return best


def _on_scale(one: Tick, other: Tick, aligned: Sequence[Tick]) -> list[Tick]:
    """The numbers that fit the scale of two of them; empty when the scale does not grow upwards."""
    rise = one.line.centre[1] - other.line.centre[1]
    if one.number == other.number or abs(rise) < _AXIS_RISE:
        return []
    scale = (other.number - one.number) / rise  # per image height
    if scale <= 0:
        return []
    return [
        tick
        for tick in aligned
        if abs(one.number + scale * (one.line.centre[1] - tick.line.centre[1]) - tick.number)
        <= _AXIS_OFF * scale
    ]


def _labels(row: Sequence[PageItem], style: NumberStyle) -> list[TextLine]:
    """A row's lines if they are evenly spaced, else its words if those are; empty otherwise.

    Words are tried because neighbouring labels are often read as one line.
    """
    words = [PageItem(word, style.parse(word.text)) for item in row for word in _words(item.line)]
    for labels in (row, words):
        if _evenly_spaced(labels) and _can_be_labels(labels):
            return [item.line for item in labels]
    return []


def _evenly_spaced(row: Sequence[PageItem]) -> bool:
    gaps = [after.line.centre[0] - before.line.centre[0] for before, after in pairwise(row)]
    mean = sum(gaps) / max(len(gaps), 1)
    return len(row) >= LEAST_LABELS and all(abs(gap - mean) <= _UNEVEN * mean for gap in gaps)


def _can_be_labels(row: Sequence[PageItem]) -> bool:
    """Words, or whole numbers in equal steps, as years are."""
    numbers = [item.number for item in row if item.number is not None]
    if not numbers:
        return True
    steps = {after - before for before, after in pairwise(numbers)}
    return len(numbers) == len(row) and len(steps) == 1 and steps.pop().is_integer()


def _words(line: TextLine) -> list[TextLine]:
    """A line's words, each as wide as its share of the characters."""
    left, top, right, bottom = line.box
    character = (right - left) / max(len(line.text), 1)
    return [
        TextLine(
            match[0],
            line.probability,
            (left + character * match.start(), top, left + character * match.end(), bottom),
        )
        for match in re.finditer(r"\S+", line.text)
    ]


def _numbers_above(labels: Sequence[TextLine], rows: Rows) -> list[list[Tick]]:
    """For each label the loose numbers above it, from left to right; all empty when they do not fit the labels.

    A number is loose when no word stands to its left in its row. At most one label may be without a number, and
    the others have equally many. Several full rows of numbers are a table.
    """
    nothing: list[list[Tick]] = [[] for _ in labels]
    full = (len(row) >= len(labels) and all(item.number is not None for item in row) for row in rows)
    if sum(full) > 1:
        return nothing
    loose = as_ticks(item for row in rows for item in takewhile(lambda item: item.number is not None, row))
    reach = (labels[-1].centre[0] - labels[0].centre[0]) / (len(labels) - 1) / 2
    found: list[list[Tick]] = [[] for _ in labels]
    for tick in sorted(loose, key=lambda tick: tick.line.centre[0]):
        distances = [abs(label.centre[0] - tick.line.centre[0]) for label in labels]
        if min(distances) <= reach:
            found[distances.index(min(distances))].append(tick)
    counts = sorted(map(len, found))
    return found if counts[1] > 0 and counts[1] == counts[-1] else nothing


def _is_plot(numbers: Sequence[Tick], labels: Sequence[TextLine], words: Sequence[TextLine]) -> bool:
    """Whether numbers are above labels, at different heights, with at most a legend's number of words among them.

    words: all lines of the page that are not numbers. A receipt has words in each row, and so is no plot.
    """
    heights = [tick.line.centre[1] for tick in numbers]
    if len(numbers) < LEAST_LABELS or max(heights) - min(heights) < _PLOT_SPREAD:
        return False
    top, bottom = min(tick.line.box[1] for tick in numbers), min(label.centre[1] for label in labels)
    if max(heights) > bottom:
        return False
    lowest = min(label.box[3] for label in labels)
    legend = [line for line in words if top <= line.centre[1] < bottom and line.box[3] < lowest]
    return len(legend) <= min(MOST_LEGEND_LINES, len(numbers) // 3)
