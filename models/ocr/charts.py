"""Finds a chart among the rows of a page, puts each label beside its numbers, and ranks the labels.

Reading order alone scatters a bar chart: the numbers over its bars stand at different heights, among the ticks of the
axis. Where labels stand in a row at equal distances, with loose numbers above them, each label gets a row with its
numbers, as in a table, and the numbers of an axis become one row.

The labels of a chart whose numbers are printed, and of a pie (models.ocr.pies), are also ranked: "Plums 1, Figs 2,
Pears 2, Kiwis 4". A small language model compares two ranks more surely than two numbers. A chart of which a label
or a number was not read is not ranked.

The time is about proportional to the number of lines, because an axis is looked for only among at most MOST_TICKS
numbers that are aligned with each other.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, takewhile
from typing import Final

from models.core.types import TextLine
from models.ocr.pies import find_slices
from models.ocr.printed_numbers import TICK_MARKS, NumberStyle

LEAST_LABELS: Final = 3
LEAST_TICKS: Final = 3

MOST_TICKS: Final = 24
"""More aligned numbers than this are a column or row of a table, not an axis."""

MOST_LEGEND_LINES: Final = 3
"""Lines of words inside a plot: its legend."""

# Tolerances, as shares of the image's width or height unless another unit is named.
_UNEVEN: Final = 0.15  # of the mean distance between labels
_AXIS_EDGE: Final = 0.015  # width, between the left or right edges of a vertical axis' numbers
_AXIS_RISE: Final = 0.05  # height, least distance between two ticks that define an axis
_AXIS_OFF: Final = 0.02  # height, between a tick and where its number puts it
_PLOT_SPREAD: Final = 0.05  # height, least distance between the highest and the lowest number of a plot
_TICK_OFF: Final = 0.015  # width, between a tick of a horizontal axis and where its number puts it
_BAR_OFF: Final = (-0.02, 0.06)  # width, from the end of a bar to the left edge of its number
_LABEL_EDGE: Final = 0.02  # width, between the right edges of the labels of horizontal bars
_AXIS_TO_LARGEST: Final = (0.6, 5.0)  # the last tick, as a multiple of the largest number in its plot


@dataclass(frozen=True)
class ChartTable:
    """The rows of a page, and the ranks of its chart.

    rows: in reading order, with each label of a chart beside its numbers. ranking: the chart's labels with their
    ranks, the highest first; empty when the page is no chart or its chart is not ranked.
    """

    rows: list[list[TextLine]]
    ranking: str


@dataclass(frozen=True)
class _Item:
    """A line of a page, and the number that it is; None for words."""

    line: TextLine
    number: float | None


@dataclass(frozen=True)
class _Tick:
    """A line that is a number, on an axis or printed in a plot."""

    line: TextLine
    number: float


@dataclass(frozen=True)
class _LabelNumbers:
    """A label and the numbers printed for it, at least one."""

    label: str
    numbers: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The number that decides the label's rank."""
        return max(self.numbers)


_Rows = Sequence[Sequence[_Item]]


def as_table(rows: Sequence[Sequence[TextLine]], style: NumberStyle) -> ChartTable:
    """Put the labels of a chart beside their numbers, and rank them.

    rows: of a page, in reading order. Those of a page without a chart come back as they are.
    style: decides which texts are numbers.
    """
    items = [[_Item(line, style.parse(line.text)) for line in row] for row in rows]
    columns = _column_chart(items, style)
    if columns is not None:
        return columns
    return ChartTable([list(row) for row in rows], _ranking(_bars(items) or _pie(rows)))


def _ranking(entries: Sequence[_LabelNumbers]) -> str:
    """Labels with their ranks, the highest first; equal numbers share a rank. Empty without entries."""
    order = sorted((entry.largest for entry in entries), reverse=True)
    highest_first = sorted(entries, key=lambda entry: -entry.largest)
    return ", ".join(f"{entry.label} {order.index(entry.largest) + 1}" for entry in highest_first)


def _reaches(ticks: Sequence[_Tick], entries: Sequence[_LabelNumbers]) -> bool:
    """Whether there is an axis, from the lowest tick up, that reaches about as far as the entries' numbers."""
    if not ticks or not entries:
        return False
    least, most = (factor * max(entry.largest for entry in entries) for factor in _AXIS_TO_LARGEST)
    return least <= ticks[-1].number <= most


# Columns: labels in a row below the numbers of their bars or points.


def _column_chart(rows: _Rows, style: NumberStyle) -> ChartTable | None:
    """The page with each label beside its numbers; None when it is no chart of columns or points."""
    ticks = _vertical_axis(_ticks(item for row in rows for item in row))
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
        entries = _column_entries(labels, numbers)
        ranking = _ranking(entries) if _reaches(ticks, entries) else ""
        return ChartTable([row for row in table if row], ranking)
    return None


def _column_entries(labels: Sequence[TextLine], numbers: Sequence[Sequence[_Tick]]) -> list[_LabelNumbers]:
    """Labels with the numbers above them; empty unless all have equally many, and at least one."""
    counts = {len(each) for each in numbers}
    if len(counts) != 1 or 0 in counts:
        return []
    return [
        _LabelNumbers(_bare(label.text), tuple(tick.number for tick in each))
        for label, each in zip(labels, numbers, strict=True)
    ]


def _vertical_axis(numbers: Sequence[_Tick]) -> list[_Tick]:
    """The ticks of a vertical axis, from the lowest up; empty without an axis.

    Two numbers with the same left or right edge define a linear scale. The axis is the scale that the most numbers
    with that edge fit, within _AXIS_OFF.
    """
    best: list[_Tick] = []
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


def _on_scale(one: _Tick, other: _Tick, aligned: Sequence[_Tick]) -> list[_Tick]:
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


def _labels(row: Sequence[_Item], style: NumberStyle) -> list[TextLine]:
    """A row's lines if they are evenly spaced, else its words if those are; empty otherwise.

    Words are tried because neighbouring labels are often read as one line.
    """
    words = [_Item(word, style.parse(word.text)) for item in row for word in _words(item.line)]
    for labels in (row, words):
        if _evenly_spaced(labels) and _can_be_labels(labels):
            return [item.line for item in labels]
    return []


def _evenly_spaced(row: Sequence[_Item]) -> bool:
    gaps = [after.line.centre[0] - before.line.centre[0] for before, after in pairwise(row)]
    mean = sum(gaps) / max(len(gaps), 1)
    return len(row) >= LEAST_LABELS and all(abs(gap - mean) <= _UNEVEN * mean for gap in gaps)


def _can_be_labels(row: Sequence[_Item]) -> bool:
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


def _numbers_above(labels: Sequence[TextLine], rows: _Rows) -> list[list[_Tick]]:
    """For each label the loose numbers above it, from left to right; all empty when they do not fit the labels.

    A number is loose when no word stands to its left in its row. At most one label may be without a number, and
    the others have equally many. Several full rows of numbers are a table.
    """
    nothing: list[list[_Tick]] = [[] for _ in labels]
    full = (len(row) >= len(labels) and all(item.number is not None for item in row) for row in rows)
    if sum(full) > 1:
        return nothing
    loose = _ticks(item for row in rows for item in takewhile(lambda item: item.number is not None, row))
    reach = (labels[-1].centre[0] - labels[0].centre[0]) / (len(labels) - 1) / 2
    found: list[list[_Tick]] = [[] for _ in labels]
    for tick in sorted(loose, key=lambda tick: tick.line.centre[0]):
        distances = [abs(label.centre[0] - tick.line.centre[0]) for label in labels]
        if min(distances) <= reach:
            found[distances.index(min(distances))].append(tick)
    counts = sorted(map(len, found))
    return found if counts[1] > 0 and counts[1] == counts[-1] else nothing


def _is_plot(numbers: Sequence[_Tick], labels: Sequence[TextLine], words: Sequence[TextLine]) -> bool:
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


# Horizontal bars: a label to the left of each bar, its number at the bar's end, an axis below.


def _bars(rows: _Rows) -> list[_LabelNumbers]:
    """The bars above the lowest horizontal axis, from the highest down; empty when they are not a complete chart."""
    for place in reversed(range(len(rows))):
        ticks = _horizontal_axis(rows[place])
        if ticks:
            found = _bars_above(ticks, rows[:place])
            return found if len(found) >= LEAST_LABELS and _reaches(ticks, found) else []
    return []


def _horizontal_axis(row: Sequence[_Item]) -> list[_Tick]:
    """The ticks of a horizontal axis: a row's numbers if they fit a linear scale, else empty.

    One item of the row may be misread.
    """
    numbers = _ticks(row)
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


def _bars_above(ticks: Sequence[_Tick], rows: _Rows) -> list[_LabelNumbers]:
    """The bars above their axis, from the highest down; empty when a label was read without its number."""
    first, last = ticks[0], ticks[-1]
    scale = (last.line.centre[0] - first.line.centre[0]) / (last.number - first.number)  # width per unit
    found: list[_LabelNumbers] = []
    edges: list[float] = []
    for row in reversed(rows):
        *words, end = row
        if not words or end.number is None or not _ends_bar(end.line, end.number, first, scale):
            incomplete = any(abs(row[0].line.box[2] - edge) <= _LABEL_EDGE for edge in edges)
            return [] if incomplete else found[::-1]
        found.append(_LabelNumbers(_bare(" ".join(word.line.text for word in words)), (end.number,)))
        edges.append(words[-1].line.box[2])
    return found[::-1]


def _ends_bar(line: TextLine, number: float, first: _Tick, scale: float) -> bool:
    """Whether a number is at the end of its bar. first: a tick of the axis. scale: width per unit."""
    off = line.box[0] - (first.line.centre[0] + scale * (number - first.number))
    return _BAR_OFF[0] <= off <= _BAR_OFF[1]


def _pie(rows: Sequence[Sequence[TextLine]]) -> list[_LabelNumbers]:
    """The labels of a pie; empty when there is none, or a label has no text but tick marks."""
    slices = find_slices([line for row in rows for line in row])
    entries = [_LabelNumbers(_bare(each.text), (each.share,)) for each in slices]
    return entries if all(entry.label for entry in entries) else []


def _ticks(items: Iterable[_Item]) -> list[_Tick]:
    """The items that are numbers."""
    return [_Tick(item.line, item.number) for item in items if item.number is not None]


def _bare(text: str) -> str:
    """The text without tick marks at its ends."""
    return text.strip(TICK_MARKS)
