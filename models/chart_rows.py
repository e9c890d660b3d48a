"""Rows of a page that turns out to be a chart: each number goes to the label under it, axes become one row.

Reading order alone tears a bar chart apart: the numbers over its bars stand at as many heights, among the ticks
of the axis. Where labels stand in a row at equal distances, and loose numbers stand above them, each label gets
a row with its numbers, as in a table. What the numbers are printed for is told as well: the labels with their ranks,
which a small language model compares more surely than numbers. Pages that are no charts stay as they are. Geometry
and numbers only; knows nothing of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from typing import Final

from models.text_line import TextLine

_NUMBER: Final = re.compile(r"[-+$]?\d[\d,]*(?:\.\d+)?[%kM]?")
_SHARE: Final = re.compile(r"(.*[^\d\s.,].*?)\s*(\d{1,2}(?:\.\d+)?)%")
_MARKS: Final = " -–—_|[]"
LEAST_LABELS: Final = 3
LEAST_TICKS: Final = 3
MOST_WORDS: Final = 3
"""Lines of words in a plot: its legend."""

_UNEVEN: Final = 0.15  # of the mean distance between labels
_ALIGNED: Final = 0.015  # of the image's width, between the edges of an axis' numbers
_SPREAD: Final = 0.05  # of the image's height, between the numbers of a plot
_OFF_SCALE: Final = 0.02  # of an axis' range, between a tick's number and its height
_AXIS_TO_HIGHEST: Final = (0.6, 5.0)  # the last tick, as a multiple of the largest number in its plot
_WHOLE: Final = (97, 103)  # what the percentages of a pie add up to


def chart_rows(rows: Sequence[list[TextLine]]) -> list[list[TextLine]]:
    """The rows of a page in reading order, put together anew when it is a chart, else the same ones."""
    ticks = _axis([line for row in rows for line in row])
    bare = [[line for line in row if line not in ticks] for row in rows]
    for place, row in reversed(list(enumerate(bare))):
        labels = _labels(row)
        numbers = _numbers_above(labels, bare[:place]) if labels else {}
        above = [line for found in numbers.values() for line in found]
        if labels and _is_plot([*ticks, *above], labels, bare):
            left = [[line for line in row if line not in above] for row in bare]
            together = [[label, *numbers[label]] for label in labels] if numbers else [labels]
            return [row for row in (*left[:place], ticks, *together, *left[place + 1 :]) if row]
    return list(rows)


def ranking(rows: Sequence[list[TextLine]]) -> str:
    """A chart's labels with their ranks, the highest first, as "Pears 1, Plums 2, Figs 2, Apples 4"; empty when
    `rows` (of chart_rows) are no chart with a number at each label.

    Such a chart is a run of rows of a label and equally many numbers, beside the row of an axis that reaches
    about as far; or its labels have percentages that make a whole. Of several numbers the largest counts.
    """
    entries = [_entry(row) for row in rows]
    for numbers, run in groupby(range(len(rows)), lambda place: len(entries[place].numbers)):
        places = list(run)
        beside = [rows[place] for place in (places[0] - 1, places[-1] + 1) if 0 <= place < len(rows)]
        found = [entries[place] for place in places]
        if numbers and len(found) >= LEAST_LABELS and any(_measures(row, found) for row in beside):
            return _in_order(found)
    shares = _shares([line for row in rows for line in row])
    return _in_order(shares) if len(shares) >= LEAST_LABELS else ""


@dataclass(frozen=True)
class _Entry:
    """A label and its numbers, as they are read; none for a row of another kind."""

    label: str
    numbers: tuple[float, ...] = ()


def _entry(row: Sequence[TextLine]) -> _Entry:
    label, *numbers = row
    values = [value for line in numbers if (value := _value(line)) is not None]
    fitting = len(values) == len(numbers) and not _ticks_in(row)
    return _Entry(_bare(label.text), tuple(values) if fitting else ())


def _ticks_in(row: Sequence[TextLine]) -> list[float]:
    """The numbers of an axis, from the lowest up in equal steps, of which one may be lost; else empty."""
    values = [value for line in row if (value := _value(line)) is not None]
    if len(values) < max(LEAST_TICKS, len(row) - 1):
        return []
    steps = [after - before for before, after in pairwise(values)]
    even = min(steps) > 0 and sum(abs(step - min(steps)) > _OFF_SCALE * min(steps) for step in steps) <= 1
    return values if even else []


def _measures(row: Sequence[TextLine], entries: Sequence[_Entry]) -> bool:
    """Whether a row is an axis for these numbers."""
    axis = _ticks_in(row)
    least, most = (factor * max(max(entry.numbers) for entry in entries) for factor in _AXIS_TO_HIGHEST)
    return bool(axis) and least <= axis[-1] <= most


def _shares(lines: Sequence[TextLine]) -> list[_Entry]:
    """The slices of a pie; empty unless every percentage has a label and together they make a whole."""
    found = [match for line in lines if (match := _SHARE.fullmatch(line.text.strip()))]
    entries = [_Entry(_bare(match[1]), (float(match[2]),)) for match in found]
    percentages = sum("%" in line.text for line in lines)
    whole = _WHOLE[0] <= sum(entry.numbers[0] for entry in entries) <= _WHOLE[1]
    return entries if whole and len(entries) == percentages else []


def _in_order(entries: Sequence[_Entry]) -> str:
    ordered = sorted((max(entry.numbers) for entry in entries), reverse=True)
    ranked = sorted(entries, key=lambda entry: -max(entry.numbers))
    return ", ".join(f"{entry.label} {ordered.index(max(entry.numbers)) + 1}" for entry in ranked)


def _bare(text: str) -> str:
    """Without the marks of ticks."""
    return text.strip(_MARKS)


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
    words = [line for row in rows for line in row if _value(line) is None and top <= line.centre[1] < bottom]
    words = [line for line in words if line.box[3] < min(label.box[3] for label in labels)]
    return len(words) <= min(MOST_WORDS, len(numbers) // 3)


def _value(line: TextLine) -> float | None:
    """The number that a line is; a tick's mark beside it is no part of it."""
    text = line.text.rstrip(_MARKS).lstrip(_MARKS.replace("-", ""))
    return float(re.sub(r"[^\d.-]", "", text)) if _NUMBER.fullmatch(text) else None


def _axis(lines: Sequence[TextLine]) -> list[TextLine]:
    """The numbers of a vertical axis from the lowest up: one below the other, each as high as its value says."""
    numbers = [(line, value) for line in lines if (value := _value(line)) is not None]
    best: list[TextLine] = []
    for edge in (0, 2):
        for (one, low), (other, high) in combinations(numbers, 2):
            rise = one.centre[1] - other.centre[1]
            if abs(one.box[edge] - other.box[edge]) > _ALIGNED or low == high or abs(rise) < 0.05:
                continue
            scale = (high - low) / rise
            fitting = [
                (line, value)
                for line, value in numbers
                if abs(line.box[edge] - one.box[edge]) <= _ALIGNED
                and abs(low + scale * (one.centre[1] - line.centre[1]) - value) <= _OFF_SCALE * abs(scale)
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
    values = [value for line in row if (value := _value(line)) is not None]
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
    if sum(len(row) >= len(labels) and all(_value(line) is not None for line in row) for row in rows) > 1:
        return {}
    loose = []
    for row in rows:
        for line in row:
            if _value(line) is None:
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
