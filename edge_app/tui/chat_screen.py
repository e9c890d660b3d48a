"""The screen of the chat: hands the messages and keys of its widgets to the open chat and its windows.

One turn runs at a time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Footer, Markdown

from edge_app.cloud.endpoint import Endpoint
from edge_app.system.terminal_text import one_line
from edge_app.tui.chat_actions import ChatActions
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.conversation_view import ConversationView
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.conversation.saved_chat import earlier_questions
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.first_card import read_first_card
from edge_app.tui.keys import CHAT_BINDINGS
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.consent_window import ConsentAsked, ConsentWindow
from models.core.errors import UserError

STOP_SECONDS = 0.1
"""Time after which an answer that goes on is cancelled again."""

TWICE_SECONDS = 2.0
"""Time in which a second press confirms the first."""


class ChatScreen(ChatActions):
    """The screen.

    first: id of the session to open, None for a new chat. endpoint: of the cloud, None when none is set up.
    warning: a sentence about the settings that is shown at the start; may be empty.
    """

    BINDINGS: ClassVar[list[BindingType]] = CHAT_BINDINGS

    def __init__(
        self, dependencies: ChatDependencies, first: str | None, endpoint: Endpoint | None, warning: str
    ) -> None:
        super().__init__(dependencies, endpoint)
        self._first = first
        self._warning = warning
        self._asked_so_far = 0
        self._interrupted_at = float("-inf")
        self._link = ("", float("-inf"))

    def compose(self) -> ComposeResult:
        parts = self._dependencies
        yield StatusLine(parts.battery)
        elsewhere = "cloud" if self._endpoint is None else self._endpoint.noun
        yield ConversationView(
            self._welcome(),
            parts.preview,
            parts.clock,
            self._key("message.other"),
            elsewhere,
            lambda: self._model.current,
            self._key("chat.start"),
        )
        yield Composer(parts, f"Ask something · {self._key('prompt.send')} sends")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._make_parts()
        self.composer.prompt.focus()
        self._preparation.load_model()
        self._remember()
        if self._warning:
            self.composer.say(self._warning, wrong=True)
        if self._first is not None:
            self._open(self._first)

    def on_resize(self) -> None:
        self.set_class(self.size.height < 22, "-short")
        self.set_class(self.size.height >= 30, "-tall")
        self.set_class(self.size.width < 60, "-narrow")

    # -- turns

    @on(Composer.Asked)
    def _asked(self, event: Composer.Asked) -> None:
        self._asked_so_far += 1
        self._let_go_of_old_keys()
        self._set_busy(True)
        self._answer(event)

    def _let_go_of_old_keys(self) -> None:
        """The footer makes its keys anew when they change, and tells all that it ever made when `compact` changes. Only
        then does Textual drop those that are gone."""
        footer = self.query_one(Footer)
        for _ in range(2):
            footer.compact = not footer.compact

    @work(group="answer")
    async def _answer(self, asked: Composer.Asked) -> None:
        if await self._saved.begin_edited():
            await self._chat.ask(asked)
        else:
            await self.composer.restore(asked.text, asked.attachments)
        self._set_busy(False)

    @on(ConsentAsked)
    @work(group="window")
    async def _consent_asked(self, event: ConsentAsked) -> None:
        proposal, parts = event.proposal, self._dependencies
        price = parts.settings.cloud_prices.get(proposal.payload.endpoint.model)
        window = ConsentWindow(proposal, price, parts.decisions(), parts.preview)
        event.reply.set_result(await self.app.push_screen_wait(window) or "no")

    @on(Composer.Attached)
    def _attached(self, event: Composer.Attached) -> None:
        if isinstance(event.attachment.source, Path):
            self._folder = event.attachment.source.parent
        self._preparation.look_at((event.attachment,))

    @on(Composer.CommandGiven)
    async def _command(self, event: Composer.CommandGiven) -> None:
        await self.run_command(event.command.action, event.argument)

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers "stop" only while an answer is being generated."""
        if action == "stop":
            return self.is_mounted and (self.composer.busy or self.composer.prompt.sending)
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        self.composer.stop_sending()
        self._stop_answer(self._asked_so_far)
        self._preparation.stop_looking()
        self.composer.prompt.focus()

    def _stop_answer(self, asked: int) -> None:
        """Cancels the answer, again and again until it ends: it may not have begun yet. asked: its number."""
        self._dependencies.backend.cancel()
        if self.composer.busy and asked == self._asked_so_far:
            self.set_timer(STOP_SECONDS, partial(self._stop_again, asked))

    def _stop_again(self, asked: int) -> None:
        if self.composer.busy and asked == self._asked_so_far:
            self._stop_answer(asked)

    def action_back(self) -> None:
        self._model.cancel_download()
        if self._saved.edited is not None:
            self._saved.edited = None
            self.composer.say("The question is asked at the end of this chat.")
        self.composer.prompt.focus()

    def action_interrupt(self) -> None:
        """Copies the selection, else stops the answer, else clears the prompt, else quits at the second press."""
        now, prompt = self._dependencies.clock(), self.composer.prompt
        selected = prompt.selected_text or self.get_selected_text()
        if selected:
            self._copy(selected, "the selection")
        elif self.composer.busy or prompt.sending:
            self.action_stop()
        elif prompt.text:
            prompt.asked.add(prompt.text)
            prompt.clear()
            self._saved.edited = None
        elif now - self._interrupted_at < TWICE_SECONDS:
            self.app.exit()
        else:
            self._interrupted_at = now
            self.composer.say(f"Press {self._key('chat.interrupt')} again to quit.")

    def action_scroll_by(self, pages: int) -> None:
        conversation = self.conversation
        lines = max(1, conversation.size.height - 2)
        conversation.scroll_relative(y=pages * lines, animate=False)

    def action_scroll_to_start(self) -> None:
        """Goes to the beginning of the conversation, and shows what comes before it."""
        self.conversation.scroll_home(animate=False)
        if self.conversation.left_out:
            self._show_earlier()

    def action_follow(self) -> None:
        self.conversation.anchor()

    @on(MessageView.Copied)
    def _message_copied(self, event: MessageView.Copied) -> None:
        self._copy(event.text, "the message")

    @on(MessageView.Edited)
    async def _message_edited(self, event: MessageView.Edited) -> None:
        if event.turn is None or self._dependencies.sessions is None:
            self.composer.prompt.recall(event.text)
            self.composer.prompt.focus()
        else:
            self._edit(event.turn)

    @on(MessageView.Forked)
    def _message_forked(self, event: MessageView.Forked) -> None:
        if event.turn is None:
            self.composer.say("This message is not saved, so no copy can end with it.", wrong=True)
        else:
            self._fork(event.turn)

    @on(Markdown.LinkClicked)
    def _link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Shows the address of a link, and opens it at the second click: the model may have made it up."""
        event.stop()
        address, now = one_line(event.href), self._dependencies.clock()
        if not address.startswith(("https://", "http://")):
            self.composer.say(f"Not opened, since it is no web address: {address}", wrong=True)
        elif self._link[0] == address and now - self._link[1] < TWICE_SECONDS * 2:
            self.app.open_url(address)
        else:
            self._link = (address, now)
            self.composer.say(f"Click again to open {address}")

    @work(group="remember")
    async def _remember(self) -> None:
        elsewhere = "" if self._endpoint is None else str(self._endpoint)
        card = await asyncio.to_thread(
            read_first_card, self._dependencies, self._model.current, self._key, elsewhere
        )
        if card is not None:
            self.conversation.welcome(card)
        if self._dependencies.sessions is not None:
            try:
                questions = await asyncio.to_thread(earlier_questions, self._dependencies.sessions)
            except UserError as error:
                self.composer.say(str(error), wrong=True)
            else:
                self.composer.prompt.asked.put_first(questions)

    def _welcome(self) -> str:
        leaves = "" if self._endpoint is None else f" unless you let a question go to {self._endpoint}"
        return (
            f"Ask about an image, or anything else. Everything happens on this machine{leaves}.\n\n"
            f"Attach an image: {self._key('chat.image')} picks it, @path finds it as you type, "
            "or paste or drop its path.\n"
            f"{self._key('chat.help')} shows the keys and commands."
        )
