"""The input of a question: several lines; Enter sends; Up and Down at its edges walk through earlier inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from edge_app.images.image_paths import pasted_images
from edge_app.system.terminal_text import printable

LONGEST_SHOWN = 20_000
MOST_LINES_SHOWN = 300
"""A longer text is shown as a mark (FoldedTexts). In characters, and in lines."""

_MARK = re.compile(r"\[long text \d+: [\d,]+ (?:lines|characters)\]")


class History:
    """Earlier inputs and a position among them. The draft that is being typed is the last entry."""

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._entries: list[str] = []
        self._place = 0
        self._draft = ""
        for entry in entries:
            self.add(entry)

    def add(self, entry: str) -> None:
        """Appends an entry unless it repeats the last one, and moves to the draft."""
        if entry.strip() and (not self._entries or self._entries[-1] != entry):
            self._entries.append(entry)
        self._place = len(self._entries)
        self._draft = ""

    def put_first(self, entries: Iterable[str]) -> None:
        """Inserts entries of earlier runs, oldest first, before all others."""
        older = [entry for entry in entries if entry.strip()]
        self._entries[:0] = older
        self._place += len(older)

    def older(self, current: str) -> str | None:
        """The entry before this one; None at the first. current: the text of the prompt, kept as the draft."""
        if self._place == 0:
            return None
        if self._place == len(self._entries):
            self._draft = current
        self._place -= 1
        return self._entries[self._place]

    def newer(self) -> str | None:
        """The entry after this one, at the end the draft; None when the draft is current."""
        if self._place == len(self._entries):
            return None
        self._place += 1
        return self._draft if self._place == len(self._entries) else self._entries[self._place]


class FoldedTexts:
    """Long texts that the prompt shows as one short mark each, since a text area of 50,000 lines takes seconds for
    every change. The marks stay known as long as the app runs, so that the history can bring them back."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def fold(self, text: str) -> str:
        """The mark of a long text; a short text as it is."""
        if len(text) <= LONGEST_SHOWN and text.count("\n") < MOST_LINES_SHOWN:
            return text
        number = next((i for i, known in enumerate(self._texts.values(), 1) if known == text), None)
        number = len(self._texts) + 1 if number is None else number
        lines = text.count("\n") + 1
        size = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
        mark = f"[long text {number}: {size}]"
        self._texts[mark] = text
        return mark

    def unfold(self, text: str) -> str:
        """The text with every mark replaced by what it stands for."""
        return _MARK.sub(lambda match: self._texts.get(match[0], match[0]), text)


class PromptInput(TextArea):
    """The text area.

    folded: the long texts that stand in it as marks.
    sending: Enter was pressed and the question is not asked yet; set to False, it is not asked.
    suggesting: the list of suggestions is open, and Up, Down, Tab, Enter and Esc act on it.
    recalled: the last text that was put here by the program; no suggestions are shown for it.
    """

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
            tooltip="Go up a line or a suggestion; on the first line, to the input before",
        ),
        Binding(
            "down",
            "down",
            "Later input",
            id="prompt.down",
            show=False,
            tooltip="Go down a line or a suggestion; on the last line, to the input after",
        ),
        Binding(
            "ctrl+shift+z,alt+z",
            "redo",
            "Redo",
            id="prompt.redo",
            show=False,
            tooltip="Redo the change that Ctrl+Z undid",
        ),
    ]

    @dataclass
    class Sent(Message):
        """Enter was pressed. The text stays until the question is accepted."""

        text: str

    @dataclass
    class ImagesPasted(Message):
        paths: tuple[Path, ...]

    class ClipboardAsked(Message):
        """The key that pastes was pressed: an image in the system's clipboard comes before text."""

    @dataclass
    class SuggestionTaken(Message):
        """The highlighted suggestion was accepted.

        or_sent: Enter was pressed, which sends the text when the suggestions are out of date or it is complete.
        """

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
        self.folded = FoldedTexts()
        self.sending = False
        self.suggesting = False
        self.recalled = ""
        self.asked = History()

    def recall(self, text: str) -> None:
        """Replaces the text and moves the cursor to its end. The change can be undone."""
        text = self.folded.fold(text)
        self.recalled = text
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("take_suggestion", "close_suggestions"):
            return self.suggesting
        return super().check_action(action, parameters)

    def action_send(self) -> None:
        if self.sending:
            return
        self.sending = True
        self.post_message(self.SuggestionTaken(or_sent=True) if self.suggesting else self.Sent(self.text))

    def action_paste(self) -> None:
        self.post_message(self.ClipboardAsked())

    def paste_text(self) -> None:
        """Inserts the text that was last copied in this program."""
        super().action_paste()

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
        """Whether the cursor is in the first (-1) or last (1) line; wrapped lines count as several."""
        column, row = self.wrapped_document.location_to_offset(self.cursor_location)
        del column
        return row == (0 if direction < 0 else self.wrapped_document.height - 1)

    async def _on_paste(self, event: events.Paste) -> None:
        """Attaches pasted image paths, which is also how a terminal reports dropped files; inserts other text, a long
        one as a mark."""
        event.prevent_default()
        event.stop()
        paths = pasted_images(event.text)
        if paths:
            self.post_message(self.ImagesPasted(paths))
            return
        if self.read_only:
            return
        if result := self._replace_via_keyboard(self.folded.fold(printable(event.text)), *self.selection):
            self.move_cursor(result.end_location)
