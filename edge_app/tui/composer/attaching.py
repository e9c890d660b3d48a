"""The part of the composer that attaches images: typed, picked, pasted, and taken out again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from edge_app.images.image_paths import exists, is_folder, typed_path
from edge_app.images.image_sources import ImageBytes, ImageSource, is_standard_input, sources_of
from edge_app.system.clipboard import clipboard_images
from edge_app.system.terminal_text import printable
from edge_app.tui.composer.attachments import Attachment, AttachmentBar, AttachmentChip, read_attachment
from edge_app.tui.composer.prompt import PromptInput
from edge_app.tui.dependencies import ChatDependencies
from models.core.errors import UserError


class NoticeLine(Static):
    """One line above the prompt, for a mistake or a confirmation. Hidden while empty."""

    def __init__(self) -> None:
        super().__init__(id="notice")
        self.display = False

    def say(self, sentence: str, *, wrong: bool) -> None:
        self.set_class(wrong, "-wrong")
        self.update(Content(printable(sentence)))
        self.display = True

    def clear(self) -> None:
        self.update("")
        self.display = False


class AttachingComposer(Vertical):
    """A prompt with attached images and one line of notice."""

    @dataclass
    class Attached(Message):
        attachment: Attachment

    def __init__(self, dependencies: ChatDependencies) -> None:
        super().__init__(id="composer")
        self._dependencies = dependencies
        self._reading = 0
        self._read = asyncio.Event()
        self._read.set()

    @property
    def prompt(self) -> PromptInput:
        return self.query_one(PromptInput)

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        return self.query_one(AttachmentBar).attachments

    def say(self, sentence: str, *, wrong: bool = False) -> None:
        """Shows one sentence above the prompt, until the next sentence or the next question."""
        self.query_one(NoticeLine).say(sentence, wrong=wrong)

    @work(group="attach")
    async def attach(self, sources: Sequence[ImageSource]) -> None:
        await self._attach_all(sources)

    @work(group="attach")
    async def attach_typed(self, text: str) -> None:
        """Attaches what the argument of /image names: a file, a folder, a pattern or a data: URL."""
        path = typed_path(text)
        sources: Sequence[ImageSource] = (path,)
        if is_folder(path) or not (exists(path) or is_standard_input(text.strip())):
            try:
                sources = await asyncio.to_thread(sources_of, str(path) if is_folder(path) else text.strip())
            except UserError as error:
                self.say(str(error), wrong=True)
                return
        await self._attach_all(sources)

    async def detach(self, name: str) -> None:
        """Removes the attached image of that name; an empty name removes all."""
        gone = [a for a in self.attachments if name in ("", a.name)]
        for attachment in gone:
            await self.query_one(AttachmentBar).take_out(attachment)
        if not gone:
            self.say(f"No image named {name} is attached." if name else "No image is attached.", wrong=True)

    async def restore(self, text: str, attachments: Sequence[Attachment]) -> None:
        """Puts back a question that failed, unless the user has begun the next one."""
        if self.prompt.text.strip() or self.attachments:
            return
        self.prompt.recall(text)
        for attachment in attachments:
            await self.query_one(AttachmentBar).add(attachment)

    async def edit(self, text: str, attachments: Sequence[Attachment]) -> None:
        """Replaces the prompt and the attached images by those of an earlier question."""
        bar = self.query_one(AttachmentBar)
        bar.clear()
        self.prompt.recall(text)
        for attachment in attachments:
            await bar.add(attachment)
        self.prompt.focus()

    async def _attach_all(self, sources: Sequence[ImageSource]) -> bool:
        """Attaches images. On the first that cannot be read it says why, stops, and returns False."""
        self._reading += 1
        self._read.clear()
        try:
            for source in sources:
                attachment = await asyncio.to_thread(read_attachment, source)
                if any(a.digest == attachment.digest for a in self.attachments):
                    self.say(f"{attachment.name} is attached already.")
                    continue
                self.query_one(NoticeLine).clear()
                await self.query_one(AttachmentBar).add(attachment)
                self.post_message(self.Attached(attachment))
                if isinstance(source, Path) and attachment.source != source.absolute():
                    self.say(f"{attachment.name} is attached; @{source.name}#2 names the second page.")
        except UserError as error:
            self.say(str(error), wrong=True)
            return False
        finally:
            self._reading -= 1
            if not self._reading:
                self._read.set()
        return True

    @on(PromptInput.ClipboardAsked)
    def _clipboard_asked(self, event: PromptInput.ClipboardAsked) -> None:
        event.stop()
        self.paste(or_text=True)

    @work(group="attach")
    async def paste(self, *, or_text: bool) -> None:
        """Attaches the image in the system's clipboard.

        or_text: without one, the text that was copied in this program is inserted.
        """
        try:
            found = await asyncio.to_thread(clipboard_images)
        except UserError as error:
            found = None
            if not or_text:
                self.say(str(error), wrong=True)
                return
        if found is not None:
            await self._attach_all(
                [ImageBytes(found, "clipboard.png")] if isinstance(found, bytes) else found
            )
        elif or_text:
            self.prompt.paste_text()
        else:
            self.say("There is no image in the clipboard.", wrong=True)

    @on(PromptInput.ImagesPasted)
    def _paste(self, event: PromptInput.ImagesPasted) -> None:
        event.stop()
        self.attach(event.paths)

    @on(AttachmentChip.Trouble)
    def _chip_trouble(self, event: AttachmentChip.Trouble) -> None:
        event.stop()
        self.say(event.sentence, wrong=True)

    @on(AttachmentChip.Removed)
    async def _remove(self, event: AttachmentChip.Removed) -> None:
        event.stop()
        self.prompt.focus()
        await self.query_one(AttachmentBar).take_out(event.attachment)
