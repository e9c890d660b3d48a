"""An image in the consent window: as it would be sent, with its size and a mark never to send it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import PIL.Image
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from edge_app.cloud.images import OutgoingImage
from edge_app.system.terminal_text import one_line
from edge_app.tui.text import file_size


class OutgoingView(Vertical, can_focus=True):
    """An image of a request.

    withheld: the image is marked never to be sent.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "space",
            "mark",
            "Never send",
            id="consent.mark",
            tooltip="Mark the image never to be sent, or remove the mark",
        ),
    ]
    withheld: reactive[bool] = reactive(False)

    @dataclass
    class Marked(Message):
        """The mark was set or removed."""

        view: OutgoingView

    def __init__(self, image: OutgoingImage, preview: Callable[..., Widget]) -> None:
        super().__init__()
        self.digest = image.digest
        self._image = image
        self._preview = preview

    def compose(self) -> ComposeResult:
        image = self._image
        yield self._preview(PIL.Image.open(io.BytesIO(image.thumbnail)))
        yield Static(Content(one_line(image.name)), classes="chip-name")
        size = f"{image.width} × {image.height} · {file_size(len(image.jpeg))}"
        yield Static(Content(size), classes="chip-facts")
        yield Static("", classes="outgoing-mark")

    def on_mount(self) -> None:
        self._show_mark()

    def watch_withheld(self) -> None:
        if self.is_mounted:
            self._show_mark()

    def _show_mark(self) -> None:
        mark = (
            Content.styled("[x] never send", "$text-warning") if self.withheld else Content("[ ] never send")
        )
        self.query_one(".outgoing-mark", Static).update(mark)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_mark()

    def action_mark(self) -> None:
        self.withheld = not self.withheld
        self.post_message(self.Marked(self))
