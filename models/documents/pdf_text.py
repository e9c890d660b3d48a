"""The text layer of a PDF page as lines with boxes, from the characters and their boxes that pdfium gives."""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.core.types import Box, TextLine

if TYPE_CHECKING:
    import pypdfium2

MAX_CHARACTERS: Final = 50_000
"""Further characters of a page are left out. A dense page of a newspaper has 15,000."""

_LEAST_MEANING: Final = 0.9
"""A layer of which fewer characters have a meaning is taken for damaged."""

_WIDE: Final = 1.2  # heights of a character: a wider gap ends a line, as the column of a table does
_OVERLAP: Final = 0.4  # of the smaller height, that two neighbours on a line have in common
_FINE: Final = 16  # steps of a point, because pdfium gives places on the page as whole numbers


@dataclass(frozen=True)
class _Character:
    """A character and where it stands on the page as it is shown, in points from its top left corner.

    ink: the box of what is printed; None for a space that pdfium puts in between words. cell: as tall as its font.
    """

    text: str
    ink: Box | None
    cell: Box | None


class _PlacedText:
    """The characters of a page, which may be turned or cropped, in the places where they are shown."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        self._page = page
        self.width, self.height = (max(1, math.ceil(length)) for length in page.get_size())

    def characters(self, textpage: pypdfium2.PdfTextPage) -> Iterator[_Character]:
        import pypdfium2

        raw = pypdfium2.raw
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        cell = raw.FS_RECTF()
        high = 0  # the first half of a character outside of the basic plane
        for i in range(min(raw.FPDFText_CountChars(textpage), MAX_CHARACTERS)):
            code = raw.FPDFText_GetUnicode(textpage, i)
            if 0xD800 <= code < 0xDC00:
                high = code
                continue
            if 0xDC00 <= code < 0xE000 and high:
                code = 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00)
            high = 0
            text = chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
            ink = loose = None
            if raw.FPDFText_GetCharBox(textpage, i, left, right, bottom, top):
                ink = self._shown(left.value, top.value, right.value, bottom.value)
            if raw.FPDFText_GetLooseCharBox(textpage, i, cell):
                loose = self._shown(cell.left, cell.top, cell.right, cell.bottom)
            yield _Character(text, ink, loose)

    def line(self, characters: list[_Character]) -> TextLine | None:
        """The characters as a line; None where nothing is printed."""
        text = " ".join("".join(each.text for each in characters).split())
        boxes = [each.ink for each in characters if each.ink is not None and each.text.strip()]
        if not text or not boxes:
            return None
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
        box = left / self.width, top / self.height, right / self.width, bottom / self.height
        if box[2] <= 0 or box[3] <= 0 or box[0] >= 1 or box[1] >= 1:
            return None  # beside the page
        x0, y0, x1, y1 = (round(min(1.0, max(0.0, share)), 5) for share in box)
        return TextLine(text, 1.0, (x0, y0, x1, y1))

    def _shown(self, left: float, top: float, right: float, bottom: float) -> Box | None:
        """A box in the units of the file; None when it has no place."""
        import pypdfium2

        x, y = ctypes.c_int(), ctypes.c_int()
        size = self.width * _FINE, self.height * _FINE
        places = []
        for across, up in ((left, top), (right, bottom)):
            if not pypdfium2.raw.FPDF_PageToDevice(self._page, 0, 0, *size, 0, across, up, x, y):
                return None
            places.append((x.value / _FINE, y.value / _FINE))
        (x0, y0), (x1, y1) = places
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def text_lines(page: pypdfium2.PdfPage) -> tuple[TextLine, ...]:
    """The lines of a page in the order of the file; empty when it has none that make sense.

    The boxes are shares of the width and height of the page as it is shown.
    """
    placed = _PlacedText(page)
    with closing(page.get_textpage()) as textpage:
        characters = list(placed.characters(textpage))
    solid = [each for each in characters if each.text.strip()]
    meaningful = sum(_has_meaning(each.text) for each in solid)
    if not solid or meaningful < _LEAST_MEANING * len(solid):
        return ()
    return tuple(line for line in map(placed.line, _split(characters)) if line is not None)


def _has_meaning(text: str) -> bool:
    """Whether a character is one of a writing; not the place of a glyph that has no character."""
    return text != "\ufffd" and unicodedata.category(text) not in ("Cc", "Cn", "Co", "Cs")


def _split(characters: list[_Character]) -> Iterator[list[_Character]]:
    """Characters that belong to one line: until a line end, a wide gap, or one that stands above or below."""
    line: list[_Character] = []
    last: Box | None = None
    for each in characters:
        solid = bool(each.text.strip()) and each.cell is not None
        if each.text in "\r\n" or (solid and last is not None and _breaks(last, each.cell)):
            yield line
            line, last = [], None
        line.append(each)
        if solid:
            last = each.cell
    yield line


def _breaks(last: Box, cell: Box | None) -> bool:
    """Whether a line ends between two characters. Lines run across the page, or up and down where it is turned."""
    if cell is None:
        return False
    return all(_apart(last, cell, along, 1 - along) for along in (0, 1))


def _apart(last: Box, cell: Box, along: int, over: int) -> bool:
    """Whether two cells are no neighbours on a line that runs along an axis: 0 across the page, 1 down it."""
    heights = last[over + 2] - last[over], cell[over + 2] - cell[over]
    common = min(last[over + 2], cell[over + 2]) - max(last[over], cell[over])
    gap = max(cell[along] - last[along + 2], last[along] - cell[along + 2])
    return gap > _WIDE * max(heights) or common < _OVERLAP * min(heights)
