"""What the windows over the chat have in common: Esc closes them, and they say how they are called."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

Result = TypeVar("Result")


class Window(ModalScreen[Result]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="window.close", tooltip="Close the window"),
    ]

    def action_close(self) -> None:
        self.dismiss(None)
