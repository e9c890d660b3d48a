"""A window that asks before something is done that cannot be undone."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from edge_app.system.terminal_text import one_line
from edge_app.tui.windows.window import Window


class ConfirmWindow(Window[bool]):
    """Gives True when it is to be done. what: the question, whole; yes, no: what the two answers are called. Enter
    alone says no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes", show=False, tooltip="Yes, do it"),
        Binding("n", "answer(False)", "No", id="confirm.no", show=False, tooltip="No, leave it"),
    ]

    def __init__(self, title: str, what: str, yes: str, no: str) -> None:
        super().__init__()
        self._title = title
        self._what = what
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        with Vertical(classes="window") as window:
            window.border_title = Content(self._title)
            yield Static(Content(one_line(self._what)), classes="window-text")
            yield OptionList(Option(Content(self._no)), Option(Content(self._yes)), markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 0

    def action_answer(self, do_it: bool) -> None:
        self.dismiss(do_it)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_index == 1)
