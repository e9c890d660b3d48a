"""What was read in an image: lines with their places, put into reading order, and as text for a prompt.

Reading order: lines that overlap vertically form a row; rows run from top to bottom, their lines from left to
right. Pure geometry on what a reader found; knows nothing of pixels, of how text is recognised, or of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from models.ocr.chart_rows import as_table
from models.ocr.text_line import Box, TextLine

SAME_ROW = 0.5
"""Two lines share a row when they overlap by at least this share of the lower one's height..."""

SAME_COLUMN = 0.5
"""...unless they overlap by more than this share of the narrower one's width: then one stands above the other."""

DOCUMENT_LINES = 5
DOCUMENT_COVER = 0.03
DOCUMENT_PROBABILITY = 0.7

LIMIT_CHARACTERS = 3000
"""Of text in a prompt, by default: a long till receipt is 1500; 3000 are 1000 to 2000 tokens."""

LEFT_OUT = "..."


@dataclass(frozen=True)
class PageText:
    """lines: in reading order (see in_reading_order)."""

    lines: tuple[TextLine, ...]

    @property
    def probability(self) -> float:
        """How sure the recogniser was: the mean over all characters, 0..1; 0 for an image without text."""
        characters = sum(len(line.text) for line in self.lines)
        return sum(line.probability * len(line.text) for line in self.lines) / max(characters, 1)

    @property
    def looks_like_document(self) -> bool:
        """Whether the image is mainly there to be read.

        The rule: at least DOCUMENT_LINES lines, which together cover at least DOCUMENT_COVER of the image and
        were read with a mean probability of at least DOCUMENT_PROBABILITY. A shop sign or a number plate in a
        photo has fewer lines; leaves and bricks taken for letters are read with less certainty.
        """
        cover = sum((right - left) * (bottom - top) for left, top, right, bottom in _boxes(self.lines))
        return (
            len(self.lines) >= DOCUMENT_LINES
            and cover >= DOCUMENT_COVER
            and self.probability >= DOCUMENT_PROBABILITY
        )


def in_reading_order(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """The same lines, row by row."""
    return tuple(line for row in rows(lines) for line in row)


def rows(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Lines grouped into rows from top to bottom, each from left to right.

    A line joins the row whose nearest line (in x) it overlaps most, so that rows of a tilted page follow the
    tilt; without an overlap of SAME_ROW it begins a row of its own.
    """
    found: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: (line.centre[1], line.box[0])):
        share, best = max(((_overlap(row, line), row) for row in found), key=_first, default=(0.0, []))
        if share >= SAME_ROW:
            best.append(line)
        else:
            found.append([line])
    for row in found:
        row.sort(key=lambda line: (line.box[0], line.box[1]))
    return sorted(found, key=lambda row: median(line.centre[1] for line in row))


def as_prompt_lines(page: PageText, limit_characters: int = LIMIT_CHARACTERS) -> str:
    """The text as it goes into a prompt: one row a line, the items of a row separated by a space.

    In a chart, each number goes to the label it belongs to, and a last line ranks the labels by their numbers
    (see chart_rows). Lines without a letter or digit are left out: they are dashes and specks.

    When it is longer than limit_characters, rows are left out of the middle (a document names its author at
    the top and its result at the bottom) and LEFT_OUT marks the place. Empty for a page without text.
    """
    legible = [line for line in page.lines if any(character.isalnum() for character in line.text)]
    table = as_table(rows(legible))
    texts = [*(" ".join(_plain(line.text) for line in row) for row in table.rows), table.ranking]
    texts = [text[:limit_characters] for text in texts if text.strip()]
    if sum(len(text) + 1 for text in texts) - 1 <= limit_characters:
        return "\n".join(texts)
    return "\n".join(_shortened(texts, limit_characters - len(LEFT_OUT) - 1))


def _shortened(texts: Sequence[str], room: int) -> list[str]:
    """Rows from both ends in turn, as long as there is room; LEFT_OUT between them."""
    head: list[str] = []
    tail: list[str] = []
    first, last = 0, len(texts) - 1
    while first <= last:
        from_top = len(head) <= len(tail)
        text = texts[first] if from_top else texts[last]
        room -= len(text) + 1
        if room < 0:
            break
        if from_top:
            head.append(text)
            first += 1
        else:
            tail.append(text)
            last -= 1
    return [*head, LEFT_OUT, *reversed(tail)]


def _plain(text: str) -> str:
    """One line, single spaces, without the marks of ticks."""
    return " ".join(word for word in text.split() if word.strip("-–—|_"))


def _overlap(row: Sequence[TextLine], line: TextLine) -> float:
    """How much of its height a line shares with the line of a row that is nearest in x; 0 when it stands
    above or below any of them."""
    left, top, right, bottom = line.box
    for other in row:
        common = min(right, other.box[2]) - max(left, other.box[0])
        if common > SAME_COLUMN * max(min(right - left, other.box[2] - other.box[0]), 1e-9):
            return 0.0
    nearest = min(row, key=lambda other: max(other.box[0] - right, left - other.box[2]))
    height = min(bottom - top, nearest.box[3] - nearest.box[1])
    return (min(bottom, nearest.box[3]) - max(top, nearest.box[1])) / max(height, 1e-9)


def _first(pair: tuple[float, list[TextLine]]) -> float:
    return pair[0]


def _boxes(lines: Sequence[TextLine]) -> list[Box]:
    return [line.box for line in lines]
