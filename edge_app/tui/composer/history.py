"""What was asked before, to be walked through from the prompt. Knows no widgets and no files."""

from __future__ import annotations

from collections.abc import Iterable


class History:
    """A list of earlier inputs and a place in it; the draft being typed is its last entry."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._entries: list[str] = []
        self._place = 0
        self._draft = ""
        for entry in entries:
            self.add(entry)

    def add(self, entry: str) -> None:
        """Appends it, unless it repeats the last one, and goes back to the draft."""
        if entry.strip() and (not self._entries or self._entries[-1] != entry):
            self._entries.append(entry)
        self._place = len(self._entries)
        self._draft = ""

    def put_first(self, entries: Iterable[str]) -> None:
        """Older entries, oldest first, from before this run."""
        older = [entry for entry in entries if entry.strip()]
        self._entries[:0] = older
        self._place += len(older)

    def older(self, current: str) -> str | None:
        """The entry before, or None at the beginning. current: what the prompt holds now."""
        if self._place == 0:
            return None
        if self._place == len(self._entries):
            self._draft = current
        self._place -= 1
        return self._entries[self._place]

    def newer(self) -> str | None:
        """The entry after, at last the draft; None when already there."""
        if self._place == len(self._entries):
            return None
        self._place += 1
        return self._draft if self._place == len(self._entries) else self._entries[self._place]
