"""Rows of a page that turns out to be a chart: each number goes to the label under it, axes become one row.

Reading order alone tears a bar chart apart: the numbers over its bars stand at as many heights, among the ticks
of the axis. Where labels stand in a row at equal distances, and loose numbers stand above them, each label gets
a row with its numbers, as in a table. Pages that are no charts stay as they are. Geometry and numbers only;
knows nothing of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Final

from models.text_line import TextLine

_NUMBER: Final = re.compile(r"[-+$]?\d[\d,]*(?:\.\d+)?[%kM]?")
LEAST_LABELS: Final = 3
LEAST_TICKS: Final = 3

_UNEVEN: Final = 0.15  # of the mean distance between labels
_ALIGNED: Final = 0.015  # of the image's width, between the edges of an axis' numbers
_OFF_SCALE: Final = 0.02  # of an axis' range, between a tick's number and its height


def chart_rows(rows: Sequence[list[TextLine]]) -> list[list[TextLine]]:
    """The rows of a page in reading order, put together anew when it is a chart, else the same ones."""
    ticks = _axis([line for row in rows for line in row])
    bare = [[line for line in row if line not in ticks] for row in rows]
    labels = next((row for row in reversed(bare) if _evenly_spaced(row)), None)
    if labels is None:
        return list(rows)
    numbers = _numbers_above(labels, bare[: bare.index(labels)])
    if not ticks and not numbers:
        return list(rows)
    above = [line for found in numbers.values() for line in found]
    together = [[label, *numbers.get(label, [])] for label in labels] if numbers else [labels]
    result: list[list[TextLine]] = []
    for row in bare:
        if row is labels:
            result += [ticks, *together] if ticks else together
        else:
            result.append([line for line in row if line not in above])
    return [row for row in result if row]


def _value(line: TextLine) -> float | None:
    text = line.text.strip()
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
