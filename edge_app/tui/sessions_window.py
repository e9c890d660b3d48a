"""A window to find and open an earlier chat: the latest ones, or those in which words occur."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.sessions import SessionStore
from edge_app.tui.finder import Finder, Found

MOST = 100


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
            found.setdefault(session.value, session)
    return list(found.values())


class SessionsWindow(Finder):
    """Gives the id of the chat that was chosen."""

    def __init__(self, store: SessionStore, words: str) -> None:
        super().__init__("Earlier chats", words, "Words to search for")
        self._store = store

    def find(self, words: str) -> Sequence[Found]:
        return find_sessions(self._store, words)

    def nothing(self, words: str) -> str:
        return "No chat has these words." if words else "No chat is saved yet."
