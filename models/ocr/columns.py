"""The order in which a person reads a page with columns or a side bar: each column from top to bottom.

A page is cut at a gutter: an x that lines stand on both sides of. Lines across it, such as a title, divide the page
into bands. In each band the lines on the left come before those on the right, unless they are the rows of a table. Both
sides are cut again in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Final

from models.core.types import TextLine
from models.ocr.page_layout import PageText, rows

GUTTER: Final = 0.015
"""Least width of a gutter, as a share of the image's width."""

COLUMN_LINES: Final = 3
"""A column has at least so many lines."""

PROSE_CHARACTERS: Final = 18
"""Lines whose median length is at least this are running text. The cells of a table are shorter."""

ALIGNED: Final = 0.75
"""When at least this share of the lines of the shorter side have a line beside them, the two sides are a table."""

FIGURES: Final = 12
"""A line with a digit and at most so many characters is a figure. Figures belong to the labels beside them."""

_BESIDE: Final = 0.5
"""Two lines are beside each other when their middles differ by at most this share of the smaller height."""

_CANDIDATES: Final = 100


def transcript(page: PageText) -> str:
    """All text of a page, a row a line, its items separated by a space. Columns are read one after another."""
    return "\n".join(" ".join(line.text for line in row) for row in rows_by_column(page.lines))


def rows_by_column(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Lines in rows, in reading order. Without columns the same as models.ocr.page_layout.rows."""
    x = _gutter(lines)
    if x is None:
        return rows(lines)
    found: list[list[TextLine]] = []
    for band in _bands(lines, x):
        left, right = _sides(band, x)
        if _are_columns(left, right):
            found += rows_by_column(left) + rows_by_column(right)
        elif len(band) < len(lines):
            found += rows_by_column(band)
        else:
            found += rows(band)
    return found


def _gutter(lines: Sequence[TextLine]) -> float | None:
    """The x that divides the most lines into columns; None without columns."""
    if len(lines) < 2 * COLUMN_LINES:
        return None
    edges = sorted({math.floor(1000 * line.box[0]) / 1000 for line in lines})
    step = max(len(edges) // _CANDIDATES, 1)
    best, most = None, 0
    for edge in edges[1::step]:
        x = edge - GUTTER / 2
        sides = [_sides(band, x) for band in _bands(lines, x)]
        divided = sum(len(left) + len(right) for left, right in sides if _are_columns(left, right))
        if divided > most:
            best, most = x, divided
    return best


def _bands(lines: Sequence[TextLine], x: float) -> list[list[TextLine]]:
    """The lines from the top down, in groups of those across x and those beside it."""
    bands: list[list[TextLine]] = []
    was_across = None
    for line in sorted(lines, key=lambda line: line.centre[1]):
        is_across = line.box[0] < x + GUTTER / 2 and line.box[2] > x - GUTTER / 2
        if is_across is not was_across:
            bands.append([])
        bands[-1].append(line)
        was_across = is_across
    return bands


def _sides(band: Sequence[TextLine], x: float) -> tuple[list[TextLine], list[TextLine]]:
    return [line for line in band if line.centre[0] < x], [line for line in band if line.centre[0] >= x]


def _are_columns(left: Sequence[TextLine], right: Sequence[TextLine]) -> bool:
    if min(len(left), len(right)) < COLUMN_LINES:
        return False
    if all(median(len(line.text) for line in side) >= PROSE_CHARACTERS for side in (left, right)):
        return True
    if any(2 * sum(_is_figure(line) for line in side) >= len(side) for side in (left, right)):
        return False
    fewer, more = sorted((left, right), key=len)
    return sum(any(_beside(line, other) for other in more) for line in fewer) < ALIGNED * len(fewer)


def _is_figure(line: TextLine) -> bool:
    return len(line.text) <= FIGURES and any(character.isdigit() for character in line.text)


def _beside(line: TextLine, other: TextLine) -> bool:
    height = min(line.box[3] - line.box[1], other.box[3] - other.box[1])
    return abs(line.centre[1] - other.centre[1]) <= _BESIDE * height
