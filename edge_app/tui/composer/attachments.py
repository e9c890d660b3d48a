"""The images attached to the next question: reading them, and the bar that shows each with name and size."""

from __future__ import annotations

import asyncio
import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import PIL.Image
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
from edge_app.images.image_sources import ImageSource
from edge_app.system.terminal_text import one_line
from edge_app.tui.conversation.previews import thumbnail
from edge_app.tui.text import file_size
from models.core.errors import UserError
from models.core.png_text import png_file
from models.documents.pages import pages_of, split_page


@dataclass(frozen=True)
class Attachment:
    """An image that waits to be sent.

    source: its file, a page of one ("bill.pdf#3"), or its bytes. digest: that of the image in a saved chat, by which
    it is marked never to be sent. size: of the file, in bytes. width, height: of the upright image, in pixels.
    notes: remarks on how it was read. picture: a thumbnail.
    """

    source: ImageSource
    name: str
    digest: str
    size: int
    width: int
    height: int
    notes: tuple[str, ...]
    picture: PIL.Image.Image

    @property
    def facts(self) -> str:
        return " · ".join([f"{self.width} × {self.height}", file_size(self.size), *map(one_line, self.notes)])


def read_attachment(source: ImageSource) -> Attachment:
    """Reads an image, which takes up to a second for a large file. Raises UserError for what is no image.

    Of a file of several pages it is the first one, unless the path names another.
    """
    if isinstance(source, Path):
        source = source.absolute()
        page = next(pages_of(source))
        if page.pages > 1 and split_page(source)[1] is None:
            source = source.with_name(page.label)
    else:
        page = next(pages_of(source.data, source.name))
    image = page.picture()
    height, width = image.pixels.shape[:2]
    data, digest = page.image_file(), image.digest
    if data is None:
        digest = hashlib.sha256(png_file(image)).hexdigest()
    else:
        width, height = _whole_size(data, width, height)
    name = one_line(page.label)
    return Attachment(source, name, digest, page.size, width, height, image.notes, thumbnail(image))


def _whole_size(data: bytes, width: int, height: int) -> tuple[int, int]:
    """Width and height of an image file when upright. width, height: as decoded, which may be reduced."""
    with warnings.catch_warnings(), PIL.Image.open(io.BytesIO(data)) as header:
        warnings.simplefilter("ignore")
        whole = header.size
    return whole if (whole[0] > whole[1]) == (width > height) else (whole[1], whole[0])


class RemoveButton(Static):
    """Removes an image by a click. On the keyboard the keys of the chip do that."""

    @dataclass
    class Pressed(Message):
        pass

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Pressed())


class AttachmentChip(Vertical, can_focus=True):
    """An attached image. withheld: it is marked never to leave this machine."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,backspace", "remove", "Remove", id="attachment.remove", tooltip="Remove the image"),
        Binding(
            "n",
            "never_send",
            "Never send",
            id="attachment.never_send",
            tooltip="Mark the image never to be sent, or remove the mark",
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
        source = attachment.source
        self.tooltip = Content(str(source) if isinstance(source, Path) else source.name)

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
        """Marks the image, or removes the mark. The mark is saved at once and holds for every chat."""
        digest, wanted = self.attachment.digest, not self.withheld

        def mark(decisions: ConsentStore) -> bool:
            (decisions.withhold if wanted else decisions.release)(digest)
            return wanted

        await self._decide(mark)

    async def _decide(self, withheld: Callable[[ConsentStore], bool]) -> None:
        """Runs a decision on a thread, since it reads or writes the disk, and shows its result."""
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
    """The row of attached images, hidden while empty. decisions: opens the store of what may leave this machine."""

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

    def clear(self) -> None:
        """Takes out all images. The chips leave the screen a little later."""
        chips = self.query(AttachmentChip)
        chips.add_class("-going")
        chips.remove()
        self.display = False
