"""A window to choose one of a few: the adapter, the mode."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from edge_app.system.terminal_text import one_line
from edge_app.tui.windows.window import Window


class ChoiceWindow(Window[str]):
    """choices: (value, explanation)."""

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], current: str) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content(self._title)
            yield OptionList(
                *(
                    Option(Content.assemble(one_line(value), (f"  {help}" if help else "", "dim")))
                    for value, help in self._choices
                ),
                markup=False,
            )

    def on_mount(self) -> None:
        values = [value for value, _ in self._choices]
        self.query_one(OptionList).highlighted = values.index(self._current) if self._current in values else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index][0])
