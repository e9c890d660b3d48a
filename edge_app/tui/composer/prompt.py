"""The input: several lines, Enter sends, the arrow keys walk the history at its edges. Knows no commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from edge_app.system.terminal_text import printable
from edge_app.tui.composer.history import History
from edge_app.tui.composer.image_paths import pasted_images


class Prompt(TextArea):
    """suggesting: whether suggestions are open; the keys then belong to them.
    recalled: a text that was put here, not typed; it asks for no suggestions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "send",
            "Send",
            id="prompt.send",
            priority=True,
            tooltip="Send the question, or take the suggestion",
        ),
        Binding(
            "ctrl+j,shift+enter,alt+enter",
            "new_line",
            "New line",
            id="prompt.new_line",
            show=False,
            tooltip="Begin a new line (Shift or Alt with Enter only where the terminal reports them)",
        ),
        Binding(
            "tab",
            "take_suggestion",
            "Complete",
            id="prompt.complete",
            show=False,
            priority=True,
            tooltip="Take the suggestion",
        ),
        Binding(
            "escape",
            "close_suggestions",
            "Close",
            id="prompt.close_suggestions",
            show=False,
            priority=True,
            tooltip="Close the suggestions",
        ),
        Binding(
            "up",
            "up",
            "Earlier input",
            id="prompt.up",
            show=False,
            tooltip="A line or a suggestion up; on the first line, the input before",
        ),
        Binding(
            "down",
            "down",
            "Later input",
            id="prompt.down",
            show=False,
            tooltip="A line or a suggestion down; on the last line, the input after",
        ),
        Binding(
            "ctrl+shift+z,alt+z",
            "redo",
            "Redo",
            id="prompt.redo",
            show=False,
            tooltip="Do again what Ctrl+Z undid",
        ),
    ]

    @dataclass
    class Sent(Message):
        """Enter. The text stays until it is accepted."""

        text: str

    @dataclass
    class ImagesPasted(Message):
        paths: tuple[Path, ...]

    class EnterPressed(Message):
        pass

    @dataclass
    class SuggestionTaken(Message):
        """or_sent: by Enter, which sends where the suggestions no longer belong to what is written."""

        or_sent: bool

    class SuggestionsClosed(Message):
        pass

    @dataclass
    class SuggestionMoved(Message):
        step: int

    def __init__(self, placeholder: str) -> None:
        super().__init__(
            id="prompt",
            placeholder=placeholder,
            compact=True,
            highlight_cursor_line=False,
            tab_behavior="focus",
        )
        self.suggesting = False
        self.recalled = ""
        self.asked = History()

    def recall(self, text: str) -> None:
        """New content, the cursor at its end; can be undone."""
        self.recalled = text
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("take_suggestion", "close_suggestions"):
            return self.suggesting
        return super().check_action(action, parameters)

    def action_send(self) -> None:
        """A priority key overtakes the letters typed before it, which are still in this widget's queue; a
        message does not."""
        self.post_message(self.EnterPressed())

    @on(EnterPressed)
    def _enter_pressed(self, event: EnterPressed) -> None:
        event.stop()
        self.post_message(self.SuggestionTaken(or_sent=True) if self.suggesting else self.Sent(self.text))

    def action_new_line(self) -> None:
        self.insert("\n")
        self.scroll_cursor_visible()

    def action_take_suggestion(self) -> None:
        self.post_message(self.SuggestionTaken(or_sent=False))

    def action_close_suggestions(self) -> None:
        self.post_message(self.SuggestionsClosed())

    def action_up(self) -> None:
        if self.suggesting:
            self.post_message(self.SuggestionMoved(-1))
        elif not self._is_at_edge(-1):
            self.action_cursor_up()
        elif (entry := self.asked.older(self.text)) is not None:
            self.recall(entry)

    def action_down(self) -> None:
        if self.suggesting:
            self.post_message(self.SuggestionMoved(1))
        elif not self._is_at_edge(1):
            self.action_cursor_down()
        elif (entry := self.asked.newer()) is not None:
            self.recall(entry)

    def _is_at_edge(self, direction: int) -> bool:
        """Whether the cursor cannot go further up (-1) or down (1): lines as they are wrapped count."""
        column, row = self.wrapped_document.location_to_offset(self.cursor_location)
        del column
        return row == (0 if direction < 0 else self.wrapped_document.height - 1)

    async def _on_paste(self, event: events.Paste) -> None:
        """Image files dropped on a terminal arrive as their paths."""
        event.prevent_default()
        event.stop()
        paths = pasted_images(event.text)
        if paths:
            self.post_message(self.ImagesPasted(paths))
            return
        if self.read_only:
            return
        if result := self._replace_via_keyboard(printable(event.text), *self.selection):
            self.move_cursor(result.end_location)
