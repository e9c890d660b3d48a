"""Puts each value beside its label where labels stand in a row above their values, as on tickets and cards.

    GATE   BOARDING   SEAT             GATE B14
    B14    17:05      27F       ->     BOARDING 17:05
                                       SEAT 27F

A small language model finds a value beside its label more surely than in the same column. The labels are printed
smaller than the values, so that the header and the first row of a table stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from models.core.types import TextLine

SMALLER: Final = 0.86
"""Labels have at most this share of the height of their values, or of the width of their characters."""

NOT_LARGER: Final = 0.97
"""And at most this share of the other of the two."""

LONGEST_LABEL: Final = 30
"""Characters."""

_OFF: Final = 0.6
"""An edge or the middle of a value is at most so many of its heights off that of its label, as shares of the page."""


def beside_labels(rows: Sequence[Sequence[TextLine]]) -> list[list[TextLine]]:
    """The rows of a page, where two rows are labels and their values a row for each label with its value."""
    found: list[list[TextLine]] = []
    number = 0
    while number < len(rows):
        labels, values = rows[number], rows[number + 1] if number + 1 < len(rows) else ()
        if _are_stacked(labels, values):
            found += [[label, value] for label, value in zip(labels, values, strict=True)]
            number += 2
        else:
            found.append(list(labels))
            number += 1
    return found


def _are_stacked(labels: Sequence[TextLine], values: Sequence[TextLine]) -> bool:
    return (
        len(labels) == len(values) >= 2
        and all(_is_label(label.text) for label in labels)
        and min(ratios := [_ratio(size, labels, values) for size in (_height, _width)]) <= SMALLER
        and max(ratios) <= NOT_LARGER
        and all(_is_above(label, value) for label, value in zip(labels, values, strict=True))
    )


def _ratio(
    size: Callable[[TextLine], float], labels: Sequence[TextLine], values: Sequence[TextLine]
) -> float:
    return median(map(size, labels)) / max(median(map(size, values)), 1e-9)


def _is_label(text: str) -> bool:
    return (
        len(text) <= LONGEST_LABEL
        and not any(character.isdigit() for character in text)
        and sum(character.isalpha() for character in text) >= 2
    )


def _is_above(label: TextLine, value: TextLine) -> bool:
    (left, _, right, bottom), (first, top, last, _) = label.box, value.box
    off = min(abs(left - first), abs(right - last), abs(left + right - first - last) / 2)
    return off <= _OFF * _height(value) and top - bottom <= 1.5 * _height(value)


def _height(line: TextLine) -> float:
    return line.box[3] - line.box[1]


def _width(line: TextLine) -> float:
    return (line.box[2] - line.box[0]) / max(len(line.text), 1)
