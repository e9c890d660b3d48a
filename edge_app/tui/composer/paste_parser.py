"""Takes a paste from the terminal in one piece.

Textual's parser looks at each character in Python. For a paste of 2 MB that takes more than a second of a core, and no
key is heard meanwhile. Here the text between the two marks of a paste is taken as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.driver import Driver
from textual.message import Message

PARSER: Final = "XTermParser"
"""The name by which Textual's drivers make their parser."""


class PasteParser(XTermParser):
    """Textual's parser, which gets everything but pastes. It gives the same events for any split of the input.

    A mark at the beginning of a paste that comes in two parts is left to Textual's parser, with the paste.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._pasted: list[str] | None = None  # pieces of a paste whose end has not come
        self._held = ""  # after them, what may be the beginning of the mark at the end

    def feed(self, data: str) -> Iterable[Message]:
        """The events of the next characters. data: empty at the end of the input."""
        if not data:
            yield from super().feed("")
        while data:
            if self._pasted is None:
                typed, begins, data = data.partition(BRACKETED_PASTE_START)
                if typed:
                    yield from super().feed(typed)
                if begins:
                    self._pasted = []
                continue
            text, ends, data = (self._held + data).partition(BRACKETED_PASTE_END)
            shown = len(text) if ends else max(0, len(text) - len(BRACKETED_PASTE_END) + 1)
            self._pasted.append(text[:shown])
            self._held = text[shown:]
            if ends:
                pasted, self._pasted = "".join(self._pasted), None
                yield events.Paste(pasted.replace("\x00", ""))


def use_paste_parser(driver: type[Driver]) -> None:
    """Lets the drivers of a class parse their input by PasteParser, where they make an XTermParser.

    They take it from the names of their module. There is no other way to give them one.
    """
    names = vars(sys.modules[driver.__module__])
    if PARSER in names:
        names[PARSER] = PasteParser
