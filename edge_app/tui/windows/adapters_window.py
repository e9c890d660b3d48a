"""A window that lists the installed adapters with their descriptions, to choose the one that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from adapters.store.adapter_store import InstalledAdapter
from edge_app.tui.windows.finder import Finder, Found

CHOICES = (
    Found("auto", "auto", "the adapter that suits the question"),
    Found("none", "none", "the model alone"),
)


def described(adapter: InstalledAdapter) -> str:
    """Version and description of an adapter, or why it cannot be used, as one line."""
    if adapter.problem:
        return f"cannot be used: {adapter.problem}"
    manifest = adapter.manifest
    return f"{manifest.version} · {manifest.description}" if manifest else "has no description"


class AdaptersWindow(Finder):
    """Returns "auto", "none" or the name of an adapter.

    adapters: reads the installed adapters; called once. current: the choice that is highlighted first. words: the
    initial search.
    """

    def __init__(
        self, adapters: Callable[[], Iterable[InstalledAdapter]], current: str, words: str = ""
    ) -> None:
        super().__init__("Adapters", words, "Words to search for")
        self._adapters = adapters
        self._current = current
        self._all: list[Found] = []

    def find(self, words: str) -> Sequence[Found]:
        """The choices that have all the words in name or description."""
        if not self._all:
            listed = (Found(each.name, each.name, described(each)) for each in self._adapters())
            self._all = [*CHOICES, *listed]
        wanted = words.lower().split()
        return [f for f in self._all if all(word in f"{f.title} {f.detail}".lower() for word in wanted)]

    def nothing(self, words: str) -> str:
        del words
        return "No adapter has these words; `edge-app adapters install` adds adapters."

    def first(self, found: Sequence[Found]) -> int:
        return next((place for place, each in enumerate(found) if each.value == self._current), 0)
