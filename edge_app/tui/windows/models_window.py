"""A window that lists the models with size, memory and what they are good at, to choose the one that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from edge_app.tui.text import file_size
from edge_app.tui.windows.finder import Finder, Found

if TYPE_CHECKING:
    from models.hub.store import ModelStatus


def described_model(status: ModelStatus, current: str) -> str:
    """State, size, memory and purpose of a model as one line. current: the name of the model that answers."""
    entry = status.entry
    if status.pulled:
        state, size = "here", entry.size
    else:
        state, size = "not pulled", entry.download_size
    parts = [
        "in use" if entry.name == current else state,
        file_size(size),
        f"{file_size(entry.memory)} of memory",
        entry.good_at or entry.description,
    ]
    return " · ".join(parts)


class ModelsWindow(Finder):
    """Returns the name of a model, on this machine or not.

    models: reads the models; called once. current: the name of the model that answers. first_shown: the name that is
    highlighted first. words: the initial search.
    """

    def __init__(
        self,
        models: Callable[[], Iterable[ModelStatus]],
        current: str,
        first_shown: str,
        words: str = "",
    ) -> None:
        super().__init__("Models", words, "Words to search for")
        self._models = models
        self._current = current
        self._first_shown = first_shown
        self._all: list[Found] = []

    def find(self, words: str) -> Sequence[Found]:
        """The models that have all the words in name, state or purpose."""
        if not self._all:
            self._all = [
                Found(each.entry.name, each.entry.name, described_model(each, self._current))
                for each in self._models()
            ]
        wanted = words.lower().split()
        return [f for f in self._all if all(word in f"{f.title} {f.detail}".lower() for word in wanted)]

    def nothing(self, words: str) -> str:
        del words
        return "No model has these words; `edge-app models pull` adds models."

    def first(self, found: Sequence[Found]) -> int:
        return next((place for place, each in enumerate(found) if each.value == self._first_shown), 0)

    def hint(self) -> str:
        return "Enter answers with the model; one that is not pulled is downloaded first."
