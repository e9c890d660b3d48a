"""The list of suggestions above the prompt. The prompt keeps the focus; this only shows and remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from edge_app.system.terminal_text import one_line
from edge_app.tui.composer.suggestions import Suggestion


class SuggestionList(OptionList):
    can_focus = False

    @dataclass
    class Clicked(Message):
        suggestion: Suggestion

    def __init__(self) -> None:
        super().__init__(id="suggestions", markup=False, compact=True)
        self._suggestions: list[Suggestion] = []
        self.display = False

    def show(self, suggestions: Sequence[Suggestion]) -> None:
        """None closes the list."""
        self._suggestions = list(suggestions)
        self.clear_options()
        self.add_options(
            Option(Content.assemble(one_line(s.label), ("  " + s.detail, "dim"))) for s in suggestions
        )
        self.display = bool(suggestions)
        if suggestions:
            self.highlighted = 0

    def move(self, step: int) -> None:
        if self.highlighted is not None:
            self.highlighted = (self.highlighted + step) % self.option_count

    @property
    def chosen(self) -> Suggestion | None:
        return self._suggestions[self.highlighted] if self.display and self.highlighted is not None else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Clicked(self._suggestions[event.option_index]))
