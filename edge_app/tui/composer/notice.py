"""One line above the prompt for what the user should know now: a mistake, or that something was done."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from edge_app.system.terminal_text import printable


class NoticeLine(Static):
    def __init__(self) -> None:
        super().__init__(id="notice")
        self.display = False

    def say(self, sentence: str, *, wrong: bool) -> None:
        self.set_class(wrong, "-wrong")
        self.update(Content(printable(sentence)))
        self.display = True

    def clear(self) -> None:
        self.update("")
        self.display = False
