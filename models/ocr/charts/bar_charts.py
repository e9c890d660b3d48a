"""Charts of horizontal bars: a label to the left of each bar, its number at the bar's end, an axis below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
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
    reaches,
)

# Tolerances, as shares of the image's width.
_TICK_OFF: Final = 0.015  # between a tick of a horizontal axis and where its number puts it
_BAR_OFF: Final = (-0.02, 0.06)  # from the end of a bar to the left edge of its number
_LABEL_EDGE: Final = 0.02  # between the right edges of the labels of horizontal bars


def find_bars(rows: Rows) -> list[LabelNumbers]:
    """The bars above the lowest horizontal axis, from the highest down; empty when they are not a complete chart."""
    for place in reversed(range(len(rows))):
        ticks = _horizontal_axis(rows[place])
        if ticks:
            found = _bars_above(ticks, rows[:place])
            return found if len(found) >= LEAST_LABELS and reaches(ticks, found) else []
    return []


def _horizontal_axis(row: Sequence[PageItem]) -> list[Tick]:
    """The ticks of a horizontal axis: a row's numbers if they fit a linear scale, else empty.

    One item of the row may be misread.
    """
    numbers = as_ticks(row)
    least = max(LEAST_TICKS, len(row) - 1)
    if not least <= len(numbers) <= MOST_TICKS:
        return []
    for one, other in combinations(numbers, 2):
        if other.number <= one.number:
            continue
        scale = (other.line.centre[0] - one.line.centre[0]) / (other.number - one.number)  # width per unit
        fitting = [
            tick
            for tick in numbers
            if abs(one.line.centre[0] + scale * (tick.number - one.number) - tick.line.centre[0]) <= _TICK_OFF
        ]
        if scale > 0 and len(fitting) >= least and fitting[0].number < fitting[-1].number:
            return fitting
    return []


def _bars_above(ticks: Sequence[Tick], rows: Rows) -> list[LabelNumbers]:
    """The bars above their axis, from the highest down; empty when a label was read without its number."""
    first, last = ticks[0], ticks[-1]
    scale = (last.line.centre[0] - first.line.centre[0]) / (last.number - first.number)  # width per unit
    found: list[LabelNumbers] = []
    edges: list[float] = []
    for row in reversed(rows):
        *words, end = row
        if not words or end.number is None or not _ends_bar(end.line, end.number, first, scale):
            incomplete = any(abs(row[0].line.box[2] - edge) <= _LABEL_EDGE for edge in edges)
            return [] if incomplete else found[::-1]
        found.append(LabelNumbers(bare(" ".join(word.line.text for word in words)), (end.number,)))
        edges.append(words[-1].line.box[2])
    return found[::-1]


def _ends_bar(line: TextLine, number: float, first: Tick, scale: float) -> bool:
    """Whether a number is at the end of its bar. first: a tick of the axis. scale: width per unit."""
    off = line.box[0] - (first.line.centre[0] + scale * (number - first.number))
    return _BAR_OFF[0] <= off <= _BAR_OFF[1]
