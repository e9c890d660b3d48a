"""The images that go with the next question: a picture, name and size each, removable by key and mouse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, HorizontalScroll, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from edge_app.tui.attachment import Attachment


class RemoveButton(Static):
    """For the mouse; the keyboard has the chip's own keys."""

    @dataclass
    class Pressed(Message):
        pass

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Pressed())


class AttachmentChip(Vertical, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "delete,backspace", "remove", "Remove", id="attachment.remove", tooltip="Take the image back"
        ),
    ]

    @dataclass
    class Removed(Message):
        attachment: Attachment

    def __init__(self, attachment: Attachment, preview: Callable[..., Widget]) -> None:
        super().__init__()
        self.attachment = attachment
        self._preview = preview
        self.tooltip = Content(str(attachment.path))

    def compose(self) -> ComposeResult:
        with Horizontal(classes="chip-title"):
            yield Static(Content(self.attachment.name), classes="chip-name")
            yield RemoveButton(Content("✕"), classes="chip-remove")
        yield self._preview(self.attachment.picture)
        yield Static(Content(self.attachment.facts), classes="chip-facts")

    def action_remove(self) -> None:
        self.post_message(self.Removed(self.attachment))

    def on_remove_button_pressed(self, event: RemoveButton.Pressed) -> None:
        event.stop()
        self.action_remove()


class AttachmentBar(HorizontalScroll, can_focus=False):
    """Hidden while there is nothing to send along."""

    def __init__(self, preview: Callable[..., Widget]) -> None:
        super().__init__(id="attachments")
        self._preview = preview
        self.display = False

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(chip.attachment for chip in self.query(AttachmentChip) if not chip.has_class("-going"))

    async def add(self, attachment: Attachment) -> None:
        self.display = True
        chip = AttachmentChip(attachment, self._preview)
        await self.mount(chip)
        self.scroll_to_widget(chip, animate=False)

    async def take_out(self, attachment: Attachment) -> None:
        for chip in self.query(AttachmentChip):
            if chip.attachment is attachment:
                chip.add_class("-going")
                await chip.remove()
        self.display = bool(self.attachments)

    async def clear(self) -> None:
        for attachment in self.attachments:
            await self.take_out(attachment)
