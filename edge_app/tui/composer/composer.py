"""The composer: the prompt, its suggestions, the attached images, and one line of notice.

It turns what is typed, pasted and picked into questions and commands, which it posts as messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.message import Message
from textual.widgets import TextArea

from edge_app.images.image_paths import is_file, typed_path
from edge_app.images.question_images import read_question, stand_in
from edge_app.system.terminal_text import one_line
from edge_app.tui.composer import commands
from edge_app.tui.composer.attaching import AttachingComposer, NoticeLine
from edge_app.tui.composer.attachments import Attachment, AttachmentBar
from edge_app.tui.composer.commands import Command
from edge_app.tui.composer.prompt import PromptInput
from edge_app.tui.composer.suggestions import Suggestion, SuggestionList, suggestions
from edge_app.tui.dependencies import ChatDependencies
from models.core.errors import UserError


class Composer(AttachingComposer):
    """The prompt with its suggestions, the attached images and the notice.

    busy: an answer is being generated; questions are refused, commands are not.
    """

    @dataclass
    class Asked(Message):
        """A question was sent. text: as typed, for the history. question: the text for the model, without paths and
        with long texts in the place of their marks."""

        text: str
        question: str
        attachments: tuple[Attachment, ...]

    @dataclass
    class CommandGiven(Message):
        command: Command
        argument: str

    def __init__(self, dependencies: ChatDependencies, placeholder: str) -> None:
        super().__init__(dependencies)
        self.busy = False
        self._placeholder = placeholder
        self._suggested_for = ""

    def compose(self) -> ComposeResult:
        yield SuggestionList()
        yield AttachmentBar(self._dependencies.preview, self._dependencies.decisions)
        yield NoticeLine()
        yield PromptInput(self._placeholder)

    # -- sending

    @on(PromptInput.Sent)
    def _sent(self, event: PromptInput.Sent) -> None:
        event.stop()
        if self.prompt.sending:  # not stopped in between
            self._send(event.text)

    @work(group="send", exclusive=True)
    async def _send(self, text: str) -> None:
        await self._ask(text)
        self.prompt.sending = False

    def stop_sending(self) -> None:
        """The question that is being sent stays in the prompt."""
        self.workers.cancel_group(self, "send")
        self.prompt.sending = False

    async def _ask(self, text: str) -> None:
        given = commands.parse(text)
        if (
            given is not None
            and not is_file(typed_path(text))
            and not is_file(Path(text.split(maxsplit=1)[0]))
        ):
            self._command(*given, text)
            return
        if self.busy:
            self.say("The answer before is not finished yet; Esc stops it.", wrong=True)
            return
        await self._read.wait()  # images that are still being read belong to this question
        before = len(self.attachments)
        question = await self._question(text)
        if question is None:
            return
        attachments = self.attachments
        if not question:
            if attachments:
                self.say("Write what you want to know about the image.", wrong=True)
            return
        self.busy = True
        self._clear(text)
        if typed := attachments[before:]:
            self.say(f"attached {', '.join(attachment.name for attachment in typed)}")
        self.post_message(self.Asked(text, self.prompt.folded.unfold(question), attachments))

    async def _question(self, text: str) -> str | None:
        """Attaches the images that a text names. Returns the text for the model; None when an image failed."""
        path = typed_path(text) if "\n" not in text.strip() else None
        if path is not None and text.strip().startswith(("/", "~", "file://")) and is_file(path):
            if not await self._attach_all([path]):
                return None
            self.prompt.clear()
            return ""
        try:
            read = read_question(text, [attachment.source for attachment in self.attachments])
        except UserError as error:
            self.say(str(error), wrong=True)
            return None
        if read.images and not await self._attach_all(read.images):
            return None
        if not read.text:
            self.prompt.clear()
        return read.text

    def _command(self, name: str, argument: str, text: str) -> None:
        command = commands.find(name)
        if command is None:
            self.say(f"There is no command /{one_line(name)}; /help lists them.", wrong=True)
            return
        self.query_one(NoticeLine).clear()
        self.prompt.asked.add(text)
        self.prompt.clear()
        self.post_message(self.CommandGiven(command, argument))

    def _clear(self, text: str) -> None:
        self.prompt.asked.add(text)
        self.prompt.clear()
        self.query_one(NoticeLine).clear()
        self.query_one(AttachmentBar).clear()

    # -- suggestions

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._suggest()

    @on(TextArea.SelectionChanged)
    def _moved(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        if self.prompt.suggesting:
            self._suggest()

    def _suggest(self) -> None:
        row, column = self.prompt.cursor_location
        line = self.prompt.document[row]
        if self.prompt.text == self.prompt.recalled or not (line.startswith("/") or "@" in line[:column]):
            self.workers.cancel_group(self, "suggest")
            self._show([])
            return
        self._look_for_suggestions(line, column, row)

    @work(group="suggest", exclusive=True)
    async def _look_for_suggestions(self, line: str, column: int, row: int) -> None:
        adapters, models = self._dependencies.adapters, self._dependencies.models.names
        found = await asyncio.to_thread(
            lambda: suggestions(line, column, first_line=row == 0, adapters=adapters, models=models)
        )
        if self.prompt.cursor_location == (row, column):
            self._suggested_for = line
            self._show(found)

    def _show(self, found: Sequence[Suggestion]) -> None:
        if found or self.prompt.suggesting:
            self.query_one(SuggestionList).show(found)
            self.prompt.suggesting = bool(found)

    @on(PromptInput.SuggestionMoved)
    def _suggestion_moved(self, event: PromptInput.SuggestionMoved) -> None:
        event.stop()
        self.query_one(SuggestionList).move(event.step)

    @on(PromptInput.SuggestionsClosed)
    def _suggestions_closed(self, event: PromptInput.SuggestionsClosed) -> None:
        event.stop()
        self._show([])

    @on(PromptInput.SuggestionTaken)
    def _suggestion_taken(self, event: PromptInput.SuggestionTaken) -> None:
        event.stop()
        chosen = self.query_one(SuggestionList).chosen
        prompt = self.prompt
        line = prompt.document[prompt.cursor_location[0]]
        is_typed = chosen is not None and event.or_sent and line[chosen.start : chosen.end] == chosen.text
        if chosen is not None and line == self._suggested_for and not is_typed:
            prompt.sending = False
            self._take(chosen)
            return
        self._show([])  # the text has changed, or nothing is left to complete
        if event.or_sent and prompt.sending:
            self._send(prompt.text)

    @on(SuggestionList.Clicked)
    def _suggestion_clicked(self, event: SuggestionList.Clicked) -> None:
        event.stop()
        self.prompt.focus()
        self._take(event.suggestion)

    def _take(self, suggestion: Suggestion) -> None:
        """Attaches the image of a mention and removes its path; any other suggestion completes the text."""
        prompt = self.prompt
        row, _ = prompt.cursor_location
        start, end = (row, suggestion.start), (row, suggestion.end)
        self._show([])
        if suggestion.image is not None and not suggestion.complete:
            self._take_mention(suggestion.image, start, end)
            return
        prompt.replace(suggestion.text, start, end, maintain_selection_offset=False)
        if suggestion.complete:
            prompt.recalled = prompt.text
            self._send(prompt.text)

    @work(group="mention")
    async def _take_mention(self, image: Path, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Attaches the image of a mention at once, so that it is seen before the question is sent."""
        number, prompt = len(self.attachments) + 1, self.prompt
        if await self._attach_all([image]):
            before, after = (
                prompt.get_text_range((0, 0), start),
                prompt.get_text_range(end, prompt.document.end),
            )
            words = stand_in(before, after, number, several=number > 1)
            prompt.replace(words, start, end, maintain_selection_offset=False)
