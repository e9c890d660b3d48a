"""The messages of a conversation: their base class, questions with their images, and remarks.

Questions and answers take the focus, so that they can be chosen and copied without a mouse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import PIL.Image
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.widget import Widget
from textual.widgets import Static

from edge_app.system.terminal_text import printable

LONGEST_SHOWN = 20_000
MOST_LINES_SHOWN = 300
"""Of a question. In characters, and in lines."""


class MessageView(Vertical, can_focus=True):
    """A message that can be chosen and copied.

    text: what is copied. turn: id of the saved turn that it belongs to; None while that is not saved.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c,enter", "copy", "Copy", id="message.copy", tooltip="Copy the chosen message"),
        Binding(
            "e",
            "edit",
            "Edit",
            id="message.edit",
            tooltip="Put the chosen question into the prompt; sent again it begins a copy of the chat from there",
        ),
        Binding(
            "f",
            "fork",
            "Fork",
            id="message.fork",
            tooltip="Go on in a copy of the chat that ends with this message",
        ),
        Binding(
            "up,k",
            "previous",
            "Previous",
            id="message.previous",
            show=False,
            tooltip="Choose the message before",
        ),
        Binding("down,j", "next", "Next", id="message.next", show=False, tooltip="Choose the message after"),
    ]

    @dataclass
    class Copied(TextualMessage):
        text: str

    @dataclass
    class Edited(TextualMessage):
        """A question is to be asked again. turn: None when it was not saved."""

        text: str
        turn: int | None

    @dataclass
    class Forked(TextualMessage):
        turn: int | None

    text = ""
    turn: int | None = None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "edit":
            return isinstance(self, QuestionView)
        return super().check_action(action, parameters)

    def action_copy(self) -> None:
        self.post_message(self.Copied(self.text))

    def action_edit(self) -> None:
        self.post_message(self.Edited(self.text, self.turn))

    def action_fork(self) -> None:
        self.post_message(self.Forked(self.turn))

    def action_previous(self) -> None:
        self.screen.focus_previous("MessageView")

    def action_next(self) -> None:
        self.screen.focus_next("MessageView, PromptInput")


@dataclass(frozen=True)
class ShownImage:
    """An image of a question. picture: a thumbnail; None when the file can no longer be read."""

    name: str
    picture: PIL.Image.Image | None


class QuestionView(MessageView):
    """A question with its images. preview: the widget class that draws an image."""

    def __init__(self, text: str, images: Sequence[ShownImage], preview: Callable[..., Widget]) -> None:
        super().__init__()
        self.text = text
        self._images = images
        self._preview = preview

    def compose(self) -> ComposeResult:
        yield Static(Content("You"), classes="speaker")
        if self._images:
            with Horizontal(classes="pictures"):
                for image in self._images:
                    with Vertical(classes="picture"):
                        if image.picture is not None:
                            yield self._preview(image.picture)
                        yield Static(Content(printable(image.name)), classes="picture-name")
        yield Static(Content(_beginning(printable(self.text))), classes="question-text")


def _beginning(text: str) -> str:
    """A text of usual length as it is; of a longer one the beginning, since wrapping 2 MB takes seconds."""
    shown = "\n".join(text[:LONGEST_SHOWN].split("\n")[:MOST_LINES_SHOWN])
    if len(shown) == len(text):
        return text
    return f"{shown}\n… ({len(text) - len(shown):,} more characters; copying takes them all)"


class RemarkView(Static):
    """A sentence about the chat itself, such as "3 earlier questions of this chat are not shown."."""

    def __init__(self, sentence: str, *, wrong: bool = False) -> None:
        super().__init__(Content(printable(sentence)), classes="-wrong" if wrong else "")
