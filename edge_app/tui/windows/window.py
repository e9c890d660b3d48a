"""The base class of all windows over the chat, and the two plain ones: a choice and a confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from edge_app.system.terminal_text import one_line

Result = TypeVar("Result")


class Window(ModalScreen[Result]):
    """A modal window. Esc closes it, which returns None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="window.close", tooltip="Close the window"),
    ]

    def action_close(self) -> None:
        self.dismiss(None)


class ChoiceWindow(Window[str]):
    """Returns one of a few values. choices: pairs of value and explanation. current: the value highlighted first."""

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


class ConfirmWindow(Window[bool]):
    """Asks before an action that cannot be undone. Returns True for yes.

    what: the question. yes, no: the labels of the answers. "no" is highlighted first.
    """

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
