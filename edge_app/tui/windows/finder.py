"""The base class of windows that search: a line to type in, and a list of what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from edge_app.system.terminal_text import one_line
from edge_app.tui.windows.window import Window
from models.core.errors import UserError


@dataclass(frozen=True)
class Found:
    """An entry of the list. value: returned when it is chosen. title, detail: shown."""

    value: str
    title: str
    detail: str


class Finder(Window[str]):
    """Returns the value of the chosen entry. words: the initial search. placeholder: of the line.

    has_searched: whether the first search has ended, so that keys move in what it found.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "Next", id="list.next", show=False, tooltip="Go to the next entry"),
        Binding(
            "up", "move(-1)", "Previous", id="list.previous", show=False, tooltip="Go to the previous entry"
        ),
        Binding(
            "pagedown", "move(8)", "Further", id="list.further", show=False, tooltip="Go down eight entries"
        ),
        Binding("pageup", "move(-8)", "Back", id="list.back", show=False, tooltip="Go up eight entries"),
    ]

    def __init__(self, title: str, words: str, placeholder: str) -> None:
        super().__init__()
        self._title = title
        self._words = words
        self._placeholder = placeholder
        self._found: Sequence[Found] = ()
        self.has_searched = False

    def find(self, words: str) -> Sequence[Found]:
        """The entries for these words. Called on a worker thread. May raise UserError."""
        raise NotImplementedError

    def nothing(self, words: str) -> str:
        """The sentence that is shown when nothing was found."""
        raise NotImplementedError

    def first(self, found: Sequence[Found]) -> int:
        """The index of the entry that is highlighted first."""
        del found
        return 0

    def hint(self) -> str:
        """A line below the list that names the window's keys; empty shows none."""
        return ""

    @property
    def highlighted(self) -> Found | None:
        place = self.query_one(OptionList).highlighted
        return self._found[place] if self._found and place is not None else None

    def search_again(self) -> None:
        """Searches again after the entries have changed; the highlight stays where it is."""
        self._search(self.query_one(Input).value, self.query_one(OptionList).highlighted)

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content(self._title)
            yield Input(self._words, placeholder=self._placeholder)
            yield OptionList(markup=False)
            yield Static("", classes="nothing")
            if hint := self.hint():
                yield Static(Content(hint), classes="window-keys")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._search(self._words)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._search(event.value)

    @work(group="search", exclusive=True)
    async def _search(self, words: str, place: int | None = None) -> None:
        found: Sequence[Found] = ()
        trouble = ""
        try:
            found = await asyncio.to_thread(self.find, words)
        except UserError as error:
            trouble = str(error)
        self._found = found
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(
            Option(Content.assemble(one_line(f.title), ("  " + one_line(f.detail), "dim"))) for f in found
        )
        options.display = bool(found)
        if found:
            options.highlighted = self.first(found) if place is None else min(place, len(found) - 1)
        self.say("" if found else trouble or self.nothing(words.strip()))
        self.has_searched = True

    def say(self, sentence: str) -> None:
        """Shows a sentence below the list, until the next search."""
        self.query_one(".nothing", Static).update(Content(one_line(sentence)))

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if self._found:
            options.highlighted = min(max((options.highlighted or 0) + step, 0), len(self._found) - 1)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self.highlighted is not None:
            self.dismiss(self.highlighted.value)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._found[event.option_index].value)
