"""A window to find, open and delete earlier chats."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from edge_app.storage.sessions import SessionStore
from edge_app.tui.windows.finder import Finder, Found
from edge_app.tui.windows.window import ConfirmWindow
from models.core.errors import UserError

MOST = 100


def find_sessions(store: SessionStore, words: str) -> list[Found]:
    """The latest chats; with words, the chats that have them all, best match first, then chats whose title contains
    the words as typed. Raises UserError when the disk refuses."""
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
            found.setdefault(session.value, session)
    return list(found.values())


class SessionsWindow(Finder):
    """Returns the id of the chosen chat.

    deleted: ids of the chats that were deleted in this window. delete_key: the name of the key that deletes.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+d,shift+delete",
            "delete",
            "Delete",
            id="sessions.delete",
            priority=True,  # before the input, which has these keys too
            tooltip="Delete the chosen chat, after asking",
        ),
    ]

    def __init__(self, store: SessionStore, words: str, delete_key: str) -> None:
        super().__init__("Earlier chats", words, "Words to search for")
        self.deleted: set[str] = set()
        self._store = store
        self._delete_key = delete_key

    def find(self, words: str) -> Sequence[Found]:
        return find_sessions(self._store, words)

    def nothing(self, words: str) -> str:
        return "No chat has these words." if words else "No chat is saved yet."

    def hint(self) -> str:
        return f"Enter opens · {self._delete_key} deletes · Esc closes"

    @work(group="window", exclusive=True)
    async def action_delete(self) -> None:
        chat = self.highlighted
        if chat is None:
            return
        question = f"Delete “{chat.title}”, its questions, answers and images? It cannot be undone."
        window = ConfirmWindow("Delete a chat", question, "Yes, delete it", "No, keep it")
        if await self.app.push_screen_wait(window):
            try:
                await asyncio.to_thread(self._store.delete, chat.value)
            except UserError as error:
                self.say(str(error))
                return
            self.deleted.add(chat.value)
            self.search_again()
