"""Rows of a page that turns out to be a chart: each number goes to the label under it, axes become one row.

Reading order alone tears a bar chart apart: the numbers over its bars stand at as many heights, among the ticks
of the axis. Where labels stand in a row at equal distances, and loose numbers stand above them, each label gets
a row with its numbers, as in a table; and labels with numbers are ranked (see chart_ranks). Pages that are no charts
stay as they are. Geometry and numbers only; knows nothing of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

from models.ocr.chart_ranks import (
    LEAST_LABELS,
    LEAST_TICKS,
    Entry,
    bare,
    fits_axis,
    ranked,
    ranked_bars,
    ranked_slices,
    value,
)
from models.ocr.text_line import TextLine

MOST_WORDS: Final = 3
"""Lines of words in a plot: its legend."""

_UNEVEN: Final = 0.15  # of the mean distance between labels
_ALIGNED: Final = 0.015  # of the image's width, between the edges of an axis' numbers
_SPREAD: Final = 0.05  # of the image's height, between the numbers of a plot
_OFF_SCALE: Final = 0.02  # of an axis' range, between a tick's number and its height


@dataclass(frozen=True)
class Table:
    """rows: of a page, in reading order, a chart's put together anew. ranking: of a chart's labels by the numbers
    printed for them, else empty."""

    rows: list[list[TextLine]]
    ranking: str


def as_table(rows: Sequence[list[TextLine]]) -> Table:
    """rows: of a page, in reading order."""
    ticks = _axis([line for row in rows for line in row])
    loose = [[line for line in row if line not in ticks] for row in rows]
    for place, row in reversed(list(enumerate(loose))):
        labels = _labels(row)
        numbers = _numbers_above(labels, loose[:place]) if labels else {}
        above = [line for found in numbers.values() for line in found]
        if labels and _is_plot([*ticks, *above], labels, loose):
            left = [[line for line in row if line not in above] for row in loose]
            together = [[label, *numbers[label]] for label in labels] if numbers else [labels]
            put = [row for row in (*left[:place], ticks, *together, *left[place + 1 :]) if row]
            return Table(put, _ranked_columns(numbers, ticks))
    return Table(list(rows), ranked_bars(rows) or ranked_slices(rows))


def _ranked_columns(numbers: Mapping[TextLine, Sequence[TextLine]], ticks: Sequence[TextLine]) -> str:
    """Of labels with the numbers above them; empty unless all have equally many and an axis measures them."""
    entries = [
        Entry(bare(label.text), tuple(number for line in lines if (number := value(line)) is not None))
        for label, lines in numbers.items()
    ]
    complete = len({len(entry.numbers) for entry in entries}) == 1
    return ranked(entries) if complete and fits_axis(entries, ticks) else ""


def _is_plot(
    numbers: Sequence[TextLine], labels: Sequence[TextLine], rows: Sequence[Sequence[TextLine]]
) -> bool:
    """Whether numbers stand above labels, not all at one height, with hardly a word among them: a legend at
    most. In a receipt each row has words."""
    heights = [line.centre[1] for line in numbers]
    if len(numbers) < LEAST_LABELS or max(heights) - min(heights) < _SPREAD:
        return False
    top, bottom = min(line.box[1] for line in numbers), min(label.centre[1] for label in labels)
    if max(heights) > bottom:
        return False
    words = [line for row in rows for line in row if value(line) is None and top <= line.centre[1] < bottom]
    words = [line for line in words if line.box[3] < min(label.box[3] for label in labels)]
    return len(words) <= min(MOST_WORDS, len(numbers) // 3)


def _axis(lines: Sequence[TextLine]) -> list[TextLine]:
    """The numbers of a vertical axis from the lowest up: one below the other, each as high as its value says."""
    numbers = [(line, number) for line in lines if (number := value(line)) is not None]
    best: list[TextLine] = []
    for edge in (0, 2):
        for (one, low), (other, high) in combinations(numbers, 2):
            rise = one.centre[1] - other.centre[1]
            if abs(one.box[edge] - other.box[edge]) > _ALIGNED or low == high or abs(rise) < 0.05:
                continue
            scale = (high - low) / rise
            fitting = [
                (line, number)
                for line, number in numbers
                if abs(line.box[edge] - one.box[edge]) <= _ALIGNED
                and abs(low + scale * (one.centre[1] - line.centre[1]) - number) <= _OFF_SCALE * abs(scale)
            ]
            if scale > 0 and len(fitting) >= max(LEAST_TICKS, len(best) + 1):
                best = [line for line, _ in sorted(fitting, key=lambda pair: pair[1])]
    return best


def _labels(row: Sequence[TextLine]) -> list[TextLine]:
    """A row's lines when they stand at equal distances, or else its words when they do (neighbours are often
    read as one line); empty when neither do."""
    words = [word for line in row for word in _words(line)]
    for labels in (list(row), words):
        if _evenly_spaced(labels) and _can_be_labels(labels):
            return labels
    return []


def _can_be_labels(row: Sequence[TextLine]) -> bool:
    """Words, or whole numbers in equal steps, as years are."""
    values = [number for line in row if (number := value(line)) is not None]
    if not values:
        return True
    steps = {after - before for before, after in pairwise(values)}
    return len(values) == len(row) and len(steps) == 1 and steps.pop().is_integer()


def _words(line: TextLine) -> list[TextLine]:
    """A line's words, each as wide as its share of the letters."""
    left, top, right, bottom = line.box
    letter = (right - left) / max(len(line.text), 1)
    return [
        TextLine(
            match[0],
            line.probability,
            (left + letter * match.start(), top, left + letter * match.end(), bottom),
        )
        for match in re.finditer(r"\S+", line.text)
    ]


def _evenly_spaced(row: Sequence[TextLine]) -> bool:
    gaps = [b.centre[0] - a.centre[0] for a, b in pairwise(row)]
    mean = sum(gaps) / max(len(gaps), 1)
    return len(row) >= LEAST_LABELS and all(abs(gap - mean) <= _UNEVEN * mean for gap in gaps)


def _numbers_above(
    labels: Sequence[TextLine], rows: Sequence[Sequence[TextLine]]
) -> dict[TextLine, list[TextLine]]:
    """Label -> the loose numbers above it, from left to right; empty when they do not fit the labels.

    A number is loose when no word stands to its left in its row. At most one label may be without a number,
    and the others have equally many. Several full rows of numbers are a table.
    """
    if sum(len(row) >= len(labels) and all(value(line) is not None for line in row) for row in rows) > 1:
        return {}
    loose = []
    for row in rows:
        for line in row:
            if value(line) is None:
                break
            loose.append(line)
    reach = (labels[-1].centre[0] - labels[0].centre[0]) / (len(labels) - 1) / 2
    found: dict[TextLine, list[TextLine]] = {label: [] for label in labels}
    for line in sorted(loose, key=lambda line: line.centre[0]):
        nearest = min(labels, key=lambda label: abs(label.centre[0] - line.centre[0]))
        if abs(nearest.centre[0] - line.centre[0]) <= reach:
            found[nearest].append(line)
    counts = sorted(len(lines) for lines in found.values())
    return found if counts[1] > 0 and counts[1] == counts[-1] else {}
