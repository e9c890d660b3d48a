"""A window to find and open an earlier chat: the latest ones, or those in which words occur."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from edge_app.sessions import SessionStore
from edge_app.tui.modal import Window
from edge_app.tui.text import one_line
from models.errors import UserError

MOST = 100


@dataclass(frozen=True)
class Found:
    session: str
    title: str
    detail: str


def find_sessions(store: SessionStore, words: str) -> list[Found]:
    """Without words the latest; with words the chats that have them all, the best first, then those whose
    title has them as they are typed. Raises UserError."""
    latest = [
        Found(s.id, s.title, f"{s.updated[:10]}, {s.turns} question{'' if s.turns == 1 else 's'}")
        for s in store.recent(MOST)
    ]
    words = words.strip()
    if not words:
        return latest
    found: dict[str, Found] = {}
    for match in store.search(words, MOST):
        found.setdefault(match.session, Found(match.session, match.title, match.excerpt))
    for session in latest:
        if words.lower() in session.title.lower():
            found.setdefault(session.session, session)
    return list(found.values())


class SessionsWindow(Window[str]):
    """Gives the id of the chat that was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", "Next", id="sessions.next", show=False, tooltip="The next chat"),
        Binding("up", "move(-1)", "Previous", id="sessions.previous", show=False, tooltip="The chat before"),
        Binding(
            "pagedown", "move(8)", "Further", id="sessions.further", show=False, tooltip="Eight chats on"
        ),
        Binding("pageup", "move(-8)", "Back", id="sessions.back", show=False, tooltip="Eight chats back"),
    ]

    def __init__(self, store: SessionStore, words: str) -> None:
        super().__init__()
        self._store = store
        self._words = words
        self._found: list[Found] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content("Earlier chats")
            yield Input(self._words, placeholder="Words to search for", id="sessions-words")
            yield OptionList(markup=False, id="sessions-list")
            yield Static("", id="sessions-none")

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._search(self._words)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._search(event.value)

    @work(exclusive=True)
    async def _search(self, words: str) -> None:
        try:
            found, trouble = await asyncio.to_thread(find_sessions, self._store, words), ""
        except UserError as error:
            found, trouble = [], str(error)
        self._found = found
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(
            Option(Content.assemble(one_line(f.title), ("  " + one_line(f.detail), "$text-muted")))
            for f in found
        )
        options.display = bool(found)
        if found:
            options.highlighted = 0
        nothing = trouble or ("No chat has these words." if words.strip() else "No chat is saved yet.")
        self.query_one("#sessions-none", Static).update(Content("" if found else one_line(nothing)))

    def action_move(self, step: int) -> None:
        options = self.query_one(OptionList)
        if self._found:
            options.highlighted = min(max((options.highlighted or 0) + step, 0), len(self._found) - 1)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        highlighted = self.query_one(OptionList).highlighted
        if self._found and highlighted is not None:
            self.dismiss(self._found[highlighted].session)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(self._found[event.option_index].session)
