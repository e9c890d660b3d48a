"""The text of an image as it goes into a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from models.ocr.charts import as_table
from models.ocr.page_layout import PageText, rows

LIMIT_CHARACTERS = 3000
"""Of text in a prompt, by default: a long till receipt is 1500; 3000 are 1000 to 2000 tokens."""

LEFT_OUT = "..."


def as_prompt_lines(page: PageText, limit_characters: int = LIMIT_CHARACTERS) -> str:
    """One row of the page a line, the items of a row separated by a space.

    In a chart, each number goes to the label it belongs to, and a last line ranks the labels by their numbers
    (see models.ocr.charts). Lines without a letter or digit are left out: they are dashes and specks.

    When the text is longer than limit_characters, rows are left out of the middle (a document names its author at
    the top and its result at the bottom) and LEFT_OUT marks the place. Empty for a page without text.
    """
    legible = [line for line in page.lines if any(character.isalnum() for character in line.text)]
    table = as_table(rows(legible))
    texts = [*(" ".join(_plain(line.text) for line in row) for row in table.rows), table.ranking]
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
    """One line, single spaces, without the marks of ticks."""
    return " ".join(word for word in text.split() if word.strip("-–—|_"))
