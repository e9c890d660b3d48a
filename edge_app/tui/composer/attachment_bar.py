"""The images that go with the next question: a picture, name and size each, removable by key and mouse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, HorizontalScroll, Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from edge_app.cloud.consent import ConsentStore
from edge_app.tui.composer.attachment import Attachment
from models.core.errors import UserError


class RemoveButton(Static):
    """For the mouse; the keyboard has the chip's own keys."""

    @dataclass
    class Pressed(Message):
        pass

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Pressed())


class AttachmentChip(Vertical, can_focus=True):
    """withheld: the image never leaves this machine."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "delete,backspace", "remove", "Remove", id="attachment.remove", tooltip="Take the image back"
        ),
        Binding(
            "n",
            "never_send",
            "Never send",
            id="attachment.never_send",
            tooltip="Mark the image never to be sent to any cloud, or not",
        ),
    ]
    withheld: reactive[bool] = reactive(False)

    @dataclass
    class Removed(Message):
        attachment: Attachment

    @dataclass
    class Trouble(Message):
        sentence: str

    def __init__(
        self, attachment: Attachment, preview: Callable[..., Widget], decisions: Callable[[], ConsentStore]
    ) -> None:
        super().__init__()
        self.attachment = attachment
        self._decisions = decisions
        self._preview = preview
        self.tooltip = Content(str(attachment.path))

    def compose(self) -> ComposeResult:
        with Horizontal(classes="chip-title"):
            yield Static(Content(self.attachment.name), classes="chip-name")
            yield RemoveButton(Content("✕"), classes="chip-remove")
        yield self._preview(self.attachment.picture)
        yield Static(Content(self.attachment.facts), classes="chip-facts")

    def watch_withheld(self) -> None:
        if self.is_mounted:
            never = "never sent · " if self.withheld else ""
            self.query_one(".chip-facts", Static).update(Content(never + self.attachment.facts))

    @work(group="never send")
    async def on_mount(self) -> None:
        digest = self.attachment.digest
        await self._decide(lambda decisions: bool(decisions.withheld([digest])))

    @work(group="never send", exclusive=True)
    async def action_never_send(self) -> None:
        """On disk at once: it holds for every chat, and before any question."""
        digest, wanted = self.attachment.digest, not self.withheld

        def mark(decisions: ConsentStore) -> bool:
            (decisions.withhold if wanted else decisions.release)(digest)
            return wanted

        await self._decide(mark)

    async def _decide(self, withheld: Callable[[ConsentStore], bool]) -> None:
        """Off the screen's thread: the disk may be slow."""
        try:
            self.withheld = await asyncio.to_thread(lambda: withheld(self._decisions()))
        except UserError as error:
            self.post_message(self.Trouble(str(error)))

    def action_remove(self) -> None:
        self.post_message(self.Removed(self.attachment))

    def on_remove_button_pressed(self, event: RemoveButton.Pressed) -> None:
        event.stop()
        self.action_remove()


class AttachmentBar(HorizontalScroll, can_focus=False):
    """Hidden while there is nothing to send along. decisions: what may leave; opened at its first use."""

    def __init__(self, preview: Callable[..., Widget], decisions: Callable[[], ConsentStore]) -> None:
        super().__init__(id="attachments")
        self._preview = preview
        self._decisions = decisions
        self.display = False

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return tuple(chip.attachment for chip in self.query(AttachmentChip) if not chip.has_class("-going"))

    async def add(self, attachment: Attachment) -> None:
        self.display = True
        chip = AttachmentChip(attachment, self._preview, self._decisions)
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
