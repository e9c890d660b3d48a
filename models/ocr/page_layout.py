"""Lines of text with their boxes, and the order in which a page is read.

Lines that overlap vertically form a row. Rows run from top to bottom, and their lines from left to right.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from models.core.types import TextLine

SAME_ROW = 0.5
"""Two lines can share a row when they overlap by at least this share of the smaller height."""

SAME_COLUMN = 0.5
"""Two lines cannot share a row when they overlap by more than this share of the narrower one's width, because one is
then above the other."""

DOCUMENT_LINES = 5
DOCUMENT_COVER = 0.03
DOCUMENT_PROBABILITY = 0.7

_TINY = 1e-9


@dataclass(frozen=True)
class PageText:
    """The text of one image. lines: in reading order (see in_reading_order)."""

    lines: tuple[TextLine, ...]

    @property
    def probability(self) -> float:
        """Mean probability of the lines over all their characters, 0..1; 0 for an image without text."""
        characters = sum(len(line.text) for line in self.lines)
        return sum(line.probability * len(line.text) for line in self.lines) / max(characters, 1)

    @property
    def looks_like_document(self) -> bool:
        """Whether the image consists mainly of text.

        It has at least DOCUMENT_LINES lines, which together cover at least DOCUMENT_COVER of the image and were
        read with a mean probability of at least DOCUMENT_PROBABILITY. A shop sign or a number plate in a
        photo has fewer lines; leaves and bricks taken for letters are read with less certainty.
        """
        boxes = [line.box for line in self.lines]
        cover = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
        return (
            len(self.lines) >= DOCUMENT_LINES
            and cover >= DOCUMENT_COVER
            and self.probability >= DOCUMENT_PROBABILITY
        )


def in_reading_order(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """The lines in the order of their rows, each row from left to right."""
    return tuple(line for row in rows(lines) for line in row)


def rows(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Lines grouped into rows from top to bottom, each from left to right.

    A line joins the row whose nearest line (in x) it overlaps most, so that rows of a tilted page follow the tilt;
    without an overlap of SAME_ROW it begins a row of its own. Lines are taken from the top down, and a row that
    ends above every remaining line is not compared any more, so the time grows with the number of lines.
    """
    ordered = sorted(lines, key=lambda line: (line.centre[1], line.box[0]))
    tops_to_come = list(accumulate((line.box[1] for line in reversed(ordered)), min))[::-1]
    found: list[_Row] = []
    open_rows: list[_Row] = []
    for line, top in zip(ordered, tops_to_come, strict=True):
        open_rows = [row for row in open_rows if row.bottom > top]
        shares = [row.overlap(line) for row in open_rows]
        share = max(shares, default=0.0)
        if share >= SAME_ROW:
            open_rows[shares.index(share)].add(line)
        else:
            found.append(_Row(line))
            open_rows.append(found[-1])
    in_order = [sorted(row.lines, key=lambda line: (line.box[0], line.box[1])) for row in found]
    return sorted(in_order, key=lambda row: median(line.centre[1] for line in row))


class _Row:
    """A row to which lines are added. lines: sorted by their left edges.

    Two lines of a row overlap by at most SAME_COLUMN of the narrower one's width, so none lies inside another, and
    their right edges are in the same order as their left edges.
    """

    def __init__(self, line: TextLine) -> None:
        self.lines = [line]
        self.bottom = line.box[3]

    def add(self, line: TextLine) -> None:
        insort(self.lines, line, key=_left)
        self.bottom = max(self.bottom, line.box[3])

    def overlap(self, line: TextLine) -> float:
        """The height that a line has in common with the row's line nearest to it in x, as a share of the
        smaller height; 0 when the line is above or below any line of the row."""
        left, top, right, bottom = line.box
        if self.bottom <= top:
            return 0.0
        first, end = bisect_right(self.lines, left, key=_right), bisect_left(self.lines, right, key=_left)
        for other in self.lines[first:end]:
            common = min(right, other.box[2]) - max(left, other.box[0])
            if common > SAME_COLUMN * max(min(right - left, other.box[2] - other.box[0]), _TINY):
                return 0.0
        beside = self.lines[max(first - 1, 0) : max(first, end) + 1]
        nearest = min(
            beside, key=lambda other: (max(other.box[0] - right, left - other.box[2]), other.centre[1])
        )
        height = min(bottom - top, nearest.box[3] - nearest.box[1])
        return (min(bottom, nearest.box[3]) - max(top, nearest.box[1])) / max(height, _TINY)


def _left(line: TextLine) -> float:
    return line.box[0]


def _right(line: TextLine) -> float:
    return line.box[2]
