"""Puts each value beside its label where labels stand in a row above their values, as on tickets and cards.

    GATE   BOARDING   SEAT             GATE B14
    B14    17:05      27F       ->     BOARDING 17:05
                                       SEAT 27F

A small language model finds a value beside its label more surely than in the same column. The labels are printed
smaller than the values, so that the header and the first row of a table stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from models.core.types import TextLine

SMALLER: Final = 0.7
"""The letters of labels have at most this share of the area of those of their values."""

ALIKE: Final = 0.8
"""The letters of the rows of a table differ by less than this factor in area."""

LONGEST_LABEL: Final = 30
"""Characters."""

_OFF: Final = 0.6
"""An edge or the middle of a value is at most so many of its heights off that of its label, as shares of the page."""


def beside_labels(rows: Sequence[Sequence[TextLine]]) -> list[list[TextLine]]:
    """The rows of a page, where two rows are labels and their values a row for each label with its value."""
    found: list[list[TextLine]] = []
    number = 0
    while number < len(rows):
        before, labels, values, after = (
            rows[at] if 0 <= at < len(rows) else () for at in range(number - 1, number + 3)
        )
        if _are_stacked(labels, values) and not _are_alike(before, labels) and not _are_alike(values, after):
            found += [[label, value] for label, value in zip(labels, values, strict=True)]
            number += 2
        else:
            found.append(list(labels))
            number += 1
    return found


def _are_alike(row: Sequence[TextLine], other: Sequence[TextLine]) -> bool:
    """Whether two rows have the same columns and letters of one size, as those of a table."""
    return (
        len(row) == len(other) >= 2
        and ALIKE < _letter(row) / _letter(other) < 1 / ALIKE
        and all(_is_above(line, below) for line, below in zip(row, other, strict=True))
    )


def _are_stacked(labels: Sequence[TextLine], values: Sequence[TextLine]) -> bool:
    return (
        len(labels) == len(values) >= 2
        and all(_is_label(label.text) for label in labels)
        and _letter(labels) <= SMALLER * _letter(values)
        and all(_is_above(label, value) for label, value in zip(labels, values, strict=True))
    )


def _letter(row: Sequence[TextLine]) -> float:
    """The area of a letter, as a share of the page."""
    areas = (_height(line) * (line.box[2] - line.box[0]) / max(len(line.text), 1) for line in row)
    return max(median(areas), 1e-12)


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
