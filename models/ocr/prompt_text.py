"""The text of an image as it goes into a prompt, in every version of the prompt format (models.ocr.PROMPT_FORMAT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from models.ocr import PROMPT_FORMAT
from models.ocr.charts.chart_table import as_table
from models.ocr.page_layout import PageText, rows
from models.ocr.printed_numbers import CURRENCIES, DOLLARS, NumberStyle

LIMIT_CHARACTERS: Final = 3000
"""Default limit of an image's text in a prompt, about 1000 to 2000 tokens. A long till receipt has 1500 characters."""

LEFT_OUT: Final = "..."

_NUMBER_STYLES: Mapping[int, NumberStyle] = MappingProxyType({1: DOLLARS, 2: CURRENCIES})
"""The style of numbers by prompt format."""


def as_prompt_lines(
    page: PageText,
    prompt_format: int = PROMPT_FORMAT,
    *,
    chart_ranks: bool = False,
    limit_characters: int = LIMIT_CHARACTERS,
) -> str:
    """One row of the page a line, the items of a row separated by a space.

    prompt_format: one of models.ocr.PROMPT_FORMATS.
    chart_ranks: whether a last line ranks the labels of a chart by their numbers.

    In a chart, each number is beside its label (see models.ocr.charts.chart_table). Lines without a letter or digit are
    left out, because they are dashes and specks.

    When the text is longer than limit_characters, rows in the middle are left out and LEFT_OUT marks the place,
    because a document has its author at the top and its result at the bottom. Empty for a page without text.
    """
    legible = [line for line in page.lines if any(character.isalnum() for character in line.text)]
    table = as_table(rows(legible), _NUMBER_STYLES[prompt_format])
    texts = [" ".join(_plain(line.text) for line in row) for row in table.rows]
    if chart_ranks:
        texts.append(table.ranking)
    texts = [text[:limit_characters] for text in texts if text.strip()]
    if sum(len(text) + 1 for text in texts) - 1 <= limit_characters:
        return "\n".join(texts)
    return "\n".join(_shortened(texts, limit_characters - len(LEFT_OUT) - 1))


def _shortened(texts: Sequence[str], limit: int) -> list[str]:
    """Rows from both ends in turn, together at most `limit` characters, with LEFT_OUT between them."""
    head: list[str] = []
    tail: list[str] = []
    first, last = 0, len(texts) - 1
    while first <= last:
        from_top = len(head) <= len(tail)
        text = texts[first] if from_top else texts[last]
        limit -= len(text) + 1
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
    """The text on one line, with single spaces and without tick marks."""
    return " ".join(word for word in text.split() if word.strip("-–—|_"))
