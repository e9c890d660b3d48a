"""The labels of a chart with their ranks, where a number is printed for each: "Plums 1, Figs 2, Pears 2, Kiwis 4".

A small language model compares two ranks more surely than two numbers. What is ranked must be a chart by its geometry:
numbers at the ends of bars, as far out as their axis says, or percentages that make a whole. A chart of which a label
or a number was not read is not ranked at all. Geometry and numbers only; knows nothing of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from models.ocr.text_line import TextLine

MARKS: Final = " -–—_|[]"
"""Marks of ticks that are read as part of a number or label beside them."""

LEAST_LABELS: Final = 3
LEAST_TICKS: Final = 3

_NUMBER: Final = re.compile(
    r"(?P<sign>[-+]?)\$?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?:[.,](?P<rest>\d+))?(?P<unit>[%kM]?)"
)
_UNITS: Final = {"k": 1e3, "M": 1e6}
_SHARE: Final = re.compile(r"(?P<label>.*[^\d\s.,].*?)\s*(?<![\d.,])(?P<share>\d{1,2}(?:[.,]\d+)?)%")
_WHOLE: Final = (97, 103)  # what the percentages of a pie add up to
_AXIS_TO_HIGHEST: Final = (0.6, 5.0)  # the last tick, as a multiple of the largest number in its plot
_OFF_TICK: Final = 0.015  # of the image's width, between a tick and where its number puts it
_OFF_BAR: Final = (-0.02, 0.06)  # the same, from the end of a bar to the left edge of its number
_ALIGNED: Final = 0.02  # of the image's width, between the right edges of labels


@dataclass(frozen=True)
class Entry:
    """A label and the numbers printed for it, at least one."""

    label: str
    numbers: tuple[float, ...]

    @property
    def largest(self) -> float:
        """What counts where a label has several."""
        return max(self.numbers)


def value(line: TextLine) -> float | None:
    """The number that a line is; a tick's mark beside it is no part of it."""
    match = _NUMBER.fullmatch(line.text.rstrip(MARKS).lstrip(MARKS.replace("-", "")))
    if match is None:
        return None
    amount = float(f"{match['digits'].replace(',', '')}.{match['rest'] or 0}") * _UNITS.get(
        match["unit"], 1.0
    )
    return -amount if match["sign"] == "-" else amount


def ranked(entries: Sequence[Entry]) -> str:
    """The highest first; equal ones share a rank."""
    order = sorted((entry.largest for entry in entries), reverse=True)
    highest_first = sorted(entries, key=lambda entry: -entry.largest)
    return ", ".join(f"{entry.label} {order.index(entry.largest) + 1}" for entry in highest_first)


def fits_axis(entries: Sequence[Entry], ticks: Sequence[TextLine]) -> bool:
    """Whether there is an axis, from the lowest tick up, that reaches about as far as the numbers."""
    last = value(ticks[-1]) if ticks else None
    least, most = (factor * max(entry.largest for entry in entries) for factor in _AXIS_TO_HIGHEST)
    return last is not None and least <= last <= most


def ranked_bars(rows: Sequence[Sequence[TextLine]]) -> str:
    """Of horizontal bars above their axis; empty when the rows of a page are none."""
    for place, row in reversed(list(enumerate(rows))):
        ticks = _ticks(row)
        if ticks:
            found = _bars_above(ticks, rows[:place])
            return ranked(found) if len(found) >= LEAST_LABELS and fits_axis(found, ticks) else ""
    return ""


def ranked_slices(rows: Sequence[Sequence[TextLine]]) -> str:
    """Of a pie: every percentage has a label, and together they make a whole. Empty when they are none."""
    lines = [line.text.strip() for row in rows for line in row]
    matches = [match for text in lines if (match := _SHARE.fullmatch(text))]
    found = [
        Entry(bare(match["label"]), (float(match["share"].replace(",", ".")),))
        for match in matches
        if bare(match["label"]) and not match["label"].endswith(("-", "–", "−"))
    ]
    whole = _WHOLE[0] <= sum(entry.largest for entry in found) <= _WHOLE[1]
    complete = len(found) == sum(text.count("%") for text in lines)
    return ranked(found) if len(found) >= LEAST_LABELS and whole and complete else ""


def bare(text: str) -> str:
    """Without the marks of ticks."""
    return text.strip(MARKS)


def _ticks(row: Sequence[TextLine]) -> list[TextLine]:
    """The numbers of a horizontal axis from the left: each as far out as its value says; one may be misread."""
    numbers = [(line, number) for line in row if (number := value(line)) is not None]
    for (one, low), (other, high) in combinations(numbers, 2):
        if high <= low:
            continue
        reach = (other.centre[0] - one.centre[0]) / (high - low)
        fitting = [
            line
            for line, number in numbers
            if abs(one.centre[0] + reach * (number - low) - line.centre[0]) <= _OFF_TICK
        ]
        if reach > 0 and len(fitting) >= max(LEAST_TICKS, len(row) - 1):
            return fitting
    return []


def _bars_above(ticks: Sequence[TextLine], rows: Sequence[Sequence[TextLine]]) -> list[Entry]:
    """Those right above the axis, from the highest down; empty when a label was read whose number was not."""
    first, last = ticks[0], ticks[-1]
    low, high = value(first) or 0.0, value(last) or 0.0
    reach = (last.centre[0] - first.centre[0]) / (high - low)
    found: list[Entry] = []
    edges: list[float] = []
    for row in reversed(rows):
        *words, end = row
        number = value(end)
        off = end.box[0] - (first.centre[0] + reach * (number - low)) if words and number is not None else 1.0
        if not _OFF_BAR[0] <= off <= _OFF_BAR[1] or number is None:
            incomplete = any(abs(row[0].box[2] - edge) <= _ALIGNED for edge in edges)
            return [] if incomplete else found[::-1]
        found.append(Entry(bare(" ".join(word.text for word in words)), (number,)))
        edges.append(words[-1].box[2])
    return found[::-1]
