"""A window that lists the pages of a file with the beginning of their text, to choose the one to attach."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from edge_app.tui.windows.finder import Finder, Found
from models.core.errors import UserError
from models.documents.pages import Page

TEXT_CHARACTERS = 80
"""Of a page's text that are shown."""


class PagesWindow(Finder):
    """Returns the name of the chosen page, such as "bill.pdf#3". pages: those of one file, in their order."""

    def __init__(self, pages: Sequence[Page]) -> None:
        super().__init__(f"Pages of {pages[0].name}", "", "Words of the page, or its number")
        self._pages = pages
        self._text = lru_cache(maxsize=None)(_text)

    def find(self, words: str) -> Sequence[Found]:
        """The pages of that number, else those that have all the words in their text."""
        numbered = [page for page in self._pages if words.strip() == str(page.number)]
        wanted = words.lower().split()
        return [
            Found(page.label, f"Page {page.number}", self._text(page)[:TEXT_CHARACTERS])
            for page in numbered or self._pages
            if numbered or all(word in self._text(page).lower() for word in wanted)
        ]

    def nothing(self, words: str) -> str:
        del words
        return "No page has these words as text; pages that are scans are found by their numbers."

    def hint(self) -> str:
        return "Enter attaches the page."


def _text(page: Page) -> str:
    """The text that a page states, in one line; empty for a scan, or a damaged page, which its use reports."""
    try:
        lines = page.text_layer() or ()
    except UserError:
        return ""
    return " ".join(" ".join(line.text.split()) for line in lines)
