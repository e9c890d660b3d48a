"""The text of an image as it goes into a prompt, in every version of the prompt format (models.ocr.PROMPT_FORMAT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from models.core.types import CELL, HIDDEN, TextLine, prompt_form
from models.ocr import PROMPT_FORMAT
from models.ocr.charts.chart_table import as_table
from models.ocr.page_layout import PageText, rows
from models.ocr.printed_numbers import CURRENCIES, DOLLARS, NumberStyle
from models.ocr.stacked_fields import beside_labels

LIMIT_CHARACTERS: Final = 3000
"""Default limit of an image's text in a prompt, about 1000 to 2000 tokens. A long till receipt has 1500 characters."""

LEFT_OUT: Final = "..."

CELL_GAP: Final = 2.5
"""Two items of a row are cells of their own when they are apart by more than the width of so many characters. Words of
one text are apart by one."""

_DASHES: Final = ("-", "–", "—")

_NUMBER_STYLES: Mapping[int, NumberStyle] = MappingProxyType({1: DOLLARS, 2: CURRENCIES, 3: CURRENCIES})
"""The style of numbers by prompt format."""

_BESIDE_LABELS: Final = 3
"""The first prompt format in which values are beside the labels above them."""


def as_prompt_lines(
    page: PageText,
    prompt_format: int = PROMPT_FORMAT,
    *,
    chart_ranks: bool = False,
    limit_characters: int = LIMIT_CHARACTERS,
) -> str:
    """The text of a page in a prompt: that of `as_page_lines` without its marks, and with the same parameters."""
    return prompt_form(
        as_page_lines(page, prompt_format, chart_ranks=chart_ranks, limit_characters=limit_characters)
    )


def as_page_lines(
    page: PageText,
    prompt_format: int = PROMPT_FORMAT,
    *,
    chart_ranks: bool = False,
    limit_characters: int = LIMIT_CHARACTERS,
) -> str:
    """One row of the page a line, with the marks of models.core.types.prompt_form.

    Two items of a row are separated by CELL when there is a wide gap between them, as between a label and its value,
    else by a space. A dash between two words is hidden.

    prompt_format: one of models.ocr.PROMPT_FORMATS.
    chart_ranks: whether a last line ranks the labels of a chart by their numbers.

    In a chart, each number is beside its label (see models.ocr.charts.chart_table). Lines without a letter or digit are
    left out, because they are dashes and specks.

    When the text in a prompt is longer than limit_characters, rows in the middle are left out and LEFT_OUT marks the
    place, because a document has its author at the top and its result at the bottom. Empty for a page without text.
    """
    legible = [line for line in page.lines if any(character.isalnum() for character in line.text)]
    table = as_table(rows(legible), _NUMBER_STYLES[prompt_format])
    shown = beside_labels(table.rows) if prompt_format >= _BESIDE_LABELS else table.rows
    texts = [_row_text(row) for row in shown]
    if chart_ranks:
        texts.append(table.ranking)
    texts = [_cut(text, limit_characters) for text in texts if text.strip()]
    if sum(_length(text) + 1 for text in texts) - 1 <= limit_characters:
        return "\n".join(texts)
    return "\n".join(_shortened(texts, limit_characters - len(LEFT_OUT) - 1))


def _row_text(row: Sequence[TextLine]) -> str:
    text = _plain(row[0].text)
    for before, line in pairwise(row):
        text += (CELL if _are_cells(before, line) else " ") + _plain(line.text)
    return text


def _are_cells(left: TextLine, right: TextLine) -> bool:
    widths = [(line.box[2] - line.box[0]) / max(len(line.text), 1) for line in (left, right)]
    return right.box[0] - left.box[2] > CELL_GAP * min(widths)


def _length(text: str) -> int:
    return len(prompt_form(text))


def _cut(text: str, limit: int) -> str:
    return text if _length(text) <= limit else prompt_form(text)[:limit]


def _shortened(texts: Sequence[str], limit: int) -> list[str]:
    """Rows from both ends in turn, together at most `limit` characters, with LEFT_OUT between them."""
    head: list[str] = []
    tail: list[str] = []
    first, last = 0, len(texts) - 1
    while first <= last:
        from_top = len(head) <= len(tail)
        text = texts[first] if from_top else texts[last]
        limit -= _length(text) + 1
        if limit < 0:
            break
        if from_top:
            head.append(text)
            first += 1
        else:
            tail.append(text)
            last -= 1
    return [*head, LEFT_OUT, *reversed(tail)]


def _plain(text: str) -> str:
    """The text on one line, with single spaces and without tick marks. Dashes between two words are hidden."""
    words = text.split()
    is_word = [bool(word.strip("-–—|_")) for word in words]
    first, last = (is_word.index(True), len(words) - is_word[::-1].index(True)) if any(is_word) else (0, 0)
    return " ".join(
        word if told else HIDDEN + word
        for word, told in zip(words[first:last], is_word[first:last], strict=True)
        if told or word in _DASHES
    )
