"""The messages of a conversation: questions with their images, answers, and remarks.

They take the focus, so that they can be chosen and copied without a mouse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import PIL.Image
from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.widget import Widget
from textual.widgets import Markdown, Static

from edge_app.events import Answer, Progress
from edge_app.printable import printable
from edge_app.tui.text import answer_line, progress_text, seconds


class MessageView(Vertical, can_focus=True):
    """text: what copying it gives."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c,enter", "copy", "Copy", id="message.copy", tooltip="Copy the chosen message"),
        Binding(
            "e", "edit", "Ask again", id="message.edit", tooltip="Put the chosen question into the prompt"
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
    class Recalled(TextualMessage):
        text: str

    text = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "edit":
            return isinstance(self, QuestionView)
        return super().check_action(action, parameters)

    def action_copy(self) -> None:
        self.post_message(self.Copied(self.text))

    def action_edit(self) -> None:
        self.post_message(self.Recalled(self.text))

    def action_previous(self) -> None:
        self.screen.focus_previous("MessageView")

    def action_next(self) -> None:
        self.screen.focus_next("MessageView, Prompt")


@dataclass(frozen=True)
class Shown:
    """An image beside its question. picture: None when it could not be read any more."""

    name: str
    picture: PIL.Image.Image | None


class QuestionView(MessageView):
    def __init__(self, text: str, images: Sequence[Shown], preview: Callable[..., Widget]) -> None:
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
        yield Static(Content(printable(self.text)), classes="question-text")


class RemarkView(Static):
    """Something that is neither question nor answer: "turns were left out", a failure."""

    def __init__(self, sentence: str, *, wrong: bool = False) -> None:
        super().__init__(Content(printable(sentence)), classes="-wrong" if wrong else "")


class AnswerView(MessageView):
    """An answer while and after it comes. clock: seconds; stop_key: what to press to stop it."""

    def __init__(self, clock: Callable[[], float], stop_key: str = "") -> None:
        super().__init__()
        self._clock = clock
        self._stop_key = stop_key
        self._begun = clock()
        self._doing = "Waiting for the model"
        self._markdown = Markdown(parser_factory=_parser, open_links=False)
        self._waiting = Static("", classes="waiting")
        self._line = Static("", classes="answer-line")

    def compose(self) -> ComposeResult:
        yield Static(Content("Assistant"), classes="speaker")
        yield self._markdown
        yield self._waiting
        yield self._line

    def on_mount(self) -> None:
        self._line.display = False
        self._tick()
        self._timer = self.set_interval(0.25, self._tick)

    def doing(self, what: Progress | str) -> None:
        """What the first token waits for."""
        self._doing = progress_text(what) if isinstance(what, Progress) else what
        self._tick()

    async def append(self, text: str) -> None:
        text = printable(text)
        self.text += text
        self._waiting.display = False
        await self._markdown.append(text)

    def end(self, answer: Answer) -> None:
        self._end(answer_line(answer))

    def fail(self, sentence: str) -> None:
        self.add_class("-failed")
        self._end(sentence)

    def _end(self, line: str) -> None:
        self._timer.stop()
        self._waiting.display = False
        self._line.update(Content(printable(line)))
        self._line.display = True

    def _tick(self) -> None:
        if self._waiting.display:
            stop = f" · {self._stop_key} stops it" if self._stop_key else ""
            elapsed = seconds(self._clock() - self._begun)
            self._waiting.update(Content(f"{self._doing} · {elapsed}{stop}"))


def _parser() -> MarkdownIt:
    """HTML stays visible as text: the widget would drop it, and with it a part of the answer."""
    return MarkdownIt("gfm-like", {"html": False})
