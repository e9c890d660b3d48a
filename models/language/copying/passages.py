"""The passages of a text that an answer can be, followed token by token.

A passage begins and ends at the edge of a word. An edge is also between a letter and a digit, and between a small
letter and a capital, because readers of text glue words together ("TotalRM9.00"). A passage may also end where a time
follows a date ("16/02/201812:04:58"), and nowhere else within a number. Between two lines a copy has a space or a line
break. It does not go from one cell of a row into the next: "B14" and "17:05" below "Gate" and "Boarding" are two
answers. A hidden word (models.core.types) may be left out. A copy may have capitals where the text has small letters,
and the other way round, since adapters learn to write in one case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from models.core.types import CELL, HIDDEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.language.tokenizer import Tokenizer

LONGEST_TOKEN: Final = 32
"""Bytes. Longer tokens are not looked for in a text."""

_GAP: Final = b"\0"
"""Between two texts, and between two cells. No text has it, since blanks are replaced."""


_BLANKS: Final = re.compile(rf"[^\S{HIDDEN}]+")

_TIME_AFTER_DATE: Final = re.compile(r"(?:(?<=[/.-]\d\d)|(?<=[/.-]\d{4}))(?=\d\d?:\d\d)", re.ASCII)

_HIDDEN_PART: Final = re.compile(rf"((?: {HIDDEN}\S+)+ )")


class Passages:
    """The passages of some texts, as positions in their bytes. Immutable.

    text: their bytes with A to Z as small letters, and a space between two lines. lines: the same with line breaks.
    starts: positions where a passage begins. ends: where one ends. skips: from the position before a hidden word to the
    one behind it.

    pages: texts of which any passage may be the answer. wholes: texts that are the answer as a whole or not at all.
    excluded: texts in the pages within which no passage begins.
    """

    def __init__(
        self, pages: Iterable[str], wholes: Iterable[str] = (), excluded: Iterable[str] = ()
    ) -> None:
        self.lines = b""
        self.ends: set[int] = set()
        self.skips: dict[int, int] = {}
        starts: list[int] = []
        for page in pages:
            lines = (_with_cells(line) for line in page.replace("\0", " ").splitlines())
            starts += self._add_page("\n".join(line for line in lines if line))
        starts = self._without(starts, excluded)
        for whole in wholes:
            starts.append(len(self.lines))
            self.lines += whole.encode("utf-8", "replace").lower()
            self.ends.add(len(self.lines))
            self.lines += _GAP
        self.text = self.lines.replace(b"\n", b" ")
        self.starts = tuple(starts)

    def _without(self, starts: Sequence[int], excluded: Iterable[str]) -> list[int]:
        """The starts that lie within none of the texts."""
        text, within = self.lines.replace(b"\n", b" ").replace(_GAP, b" "), set[int]()
        for part in excluded:
            wanted = " ".join(part.split()).encode("utf-8", "replace").lower()
            at = text.find(wanted) if wanted else -1
            while at >= 0:
                within.update(range(at, at + len(wanted)))
                at = text.find(wanted, at + 1)
        return [start for start in starts if start not in within]

    def _add_page(self, page: str) -> list[int]:
        """Adds the text of a page, and the ends of its passages. Returns their starts."""
        starts, pieces, position = [], [], len(self.lines)
        for marked in _HIDDEN_PART.split(page):  # every other part is a hidden word with the spaces around it
            part = marked.replace(HIDDEN, "")
            if part != marked:
                self.skips[position] = position + len(part.encode("utf-8", "replace")) - 1
            times = {match.start() for match in _TIME_AFTER_DATE.finditer(part)}
            for number, (before, after) in enumerate(zip(("", *part), (*part, ""), strict=True)):
                is_edge = _is_edge(before, after)
                if is_edge and after.strip():
                    starts.append(position)
                if before.strip() and (is_edge or number in times):
                    self.ends.add(position)
                pieces.append(_GAP if after == CELL else after.encode("utf-8", "replace").lower())
                position += len(pieces[-1])
        self.lines += b"".join(pieces) + _GAP
        return starts


class Copy:
    """A passage while it is copied. Call `accept` with each token.

    It has the methods of models.language.sampling.Permitted. The answer's first token may begin with a space, as the
    templates of some models want it.
    """

    def __init__(self, passages: Passages, tokenizer: Tokenizer, vocabulary: int) -> None:
        """vocabulary: rows of the language model's head."""
        self._passages = passages
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._positions: Sequence[int] = passages.starts  # where the text after the copy so far stands
        self._is_empty = True

    @property
    def may_end(self) -> bool:
        """Whether the copy so far is a passage."""
        ends = self._passages.ends
        return not self._is_empty and any(position in ends for position in self._positions)

    def tokens(self) -> list[int]:
        """The tokens that continue the copy, without those that end it, ascending."""
        known, text, lines = self._tokenizer.by_small_bytes, self._passages.text, self._passages.lines
        found: set[int] = set()
        for position in self._positions:
            gap = text.find(_GAP, position, position + LONGEST_TOKEN)
            for end in range(position + 1, (position + LONGEST_TOKEN if gap < 0 else gap) + 1):
                found.update(known.get(text[position:end], ()))
                found.update(known.get(lines[position:end], ()))
                if self._is_empty:
                    found.update(known.get(b" " + text[position:end], ()))
        return sorted(found)

    def accept(self, token: int) -> None:
        """Take a token that is one of `tokens`."""
        piece = self._tokenizer.token_bytes(token).lower()
        after = self._after(piece)
        if self._is_empty and piece.startswith(b" "):
            after += self._after(piece[1:])
        skips = self._passages.skips
        after += [skips[position] for position in after if position in skips]
        self._positions, self._is_empty = after, False

    def _after(self, piece: bytes) -> list[int]:
        """The positions behind a piece of text, of those where it stands."""
        text, lines = self._passages.text, self._passages.lines
        return [
            position + len(piece)
            for position in self._positions
            if text.startswith(piece, position) or lines.startswith(piece, position)
        ]

    def permits(self, token: int) -> bool:
        """Whether a token may come next. The end tokens may when the copy is a passage."""
        return self.may_end if token in self._tokenizer.end_ids else token in self.tokens()

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [vocab]."""
        import numpy as np  # the other methods work on bytes

        allowed = np.zeros(self._vocabulary, np.bool_)
        allowed[self.tokens()] = True
        if self.may_end:
            allowed[list(self._tokenizer.end_ids)] = True
        return allowed


def _with_cells(line: str) -> str:
    """A line with single spaces, and CELL between its cells."""
    cells = (_BLANKS.sub(" ", cell).strip(" ") for cell in line.split(CELL))
    return CELL.join(cell for cell in cells if cell)


def _is_edge(before: str, after: str) -> bool:
    """Whether a passage may end or begin between two characters. Empty: the end of the text."""
    first, second = _kind(before), _kind(after)
    return not first or not second or (first != second and (first, second) != ("capital", "small"))


def _kind(character: str) -> str:
    """Empty for what is no letter and no digit."""
    if character.isdigit():
        return "digit"
    if character.isupper():
        return "capital"
    return "small" if character.isalpha() else ""
