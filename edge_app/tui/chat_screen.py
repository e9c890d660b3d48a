"""The chat: hands questions over, shows what comes back, and runs the commands.

One turn at a time. Knows which chat is open and what the next question is to be answered with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Footer, Markdown

from edge_app.cloud.endpoint import Endpoint
from edge_app.events import Failed, Progress, Ready
from edge_app.system.terminal_text import one_line
from edge_app.tui.asking_user import ConsentAsked
from edge_app.tui.chat_keys import CHAT_BINDINGS
from edge_app.tui.composer.attachments import Attachment
from edge_app.tui.composer.composer import Composer
from edge_app.tui.composer.image_paths import typed_path
from edge_app.tui.conversation.conversation_view import Conversation
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.conversation.saved_chat import earlier_questions, load_chat
from edge_app.tui.key_owners import KEY_OWNERS, key_name
from edge_app.tui.next_answer import NextAnswer
from edge_app.tui.status import NEW_CHAT, StatusLine
from edge_app.tui.stream import batches
from edge_app.tui.surroundings import Surroundings
from edge_app.tui.text import progress_text
from edge_app.tui.turns import Turns
from edge_app.tui.windows.consent_window import ConsentWindow
from edge_app.tui.windows.file_picker import FilePicker
from edge_app.tui.windows.help_window import HelpWindow
from edge_app.tui.windows.sessions_window import SessionsWindow
from models.core.errors import UserError

TWICE_SECONDS = 2.0
"""Within which a second press means it."""


class ChatScreen(Screen[None]):
    """first: the id of the session to open at the start, None for a new chat.
    endpoint: of the cloud, None when none is set up.
    warning: what is wrong with the settings, to be told at the start; may be empty."""

    BINDINGS: ClassVar[list[BindingType]] = CHAT_BINDINGS

    def __init__(
        self, surroundings: Surroundings, first: str | None, endpoint: Endpoint | None, warning: str
    ) -> None:
        super().__init__()
        self._around = surroundings
        self._first = first
        self._endpoint = endpoint
        self._warning = warning
        self._interrupted_at = float("-inf")
        self._link = ("", float("-inf"))
        self._folder = Path.cwd()

    def compose(self) -> ComposeResult:
        around = self._around
        yield StatusLine(around.battery)
        yield Conversation(self._welcome(), around.preview, around.clock, self._key("message.other"))
        yield Composer(around, f"Ask something · {self._key('prompt.send')} sends")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        status = self.query_one(StatusLine)
        status.adapter, status.mode = self._around.settings.adapter, self._around.settings.mode
        status.offline, status.endpoint = self._around.offline.is_on, self._endpoint
        self._turns = Turns(self._around, status, self.composer, self.conversation, self._key)
        self._next = NextAnswer(self.app, self._around, status, self.composer, self._key("chat.offline"))
        self.composer.prompt.focus()
        self._prepare(())
        self._remember()
        if self._warning:
            self.composer.say(self._warning, wrong=True)
        if self._first is not None:
            self._open(self._first)

    def on_resize(self) -> None:
        self.set_class(self.size.height < 22, "-short")
        self.set_class(self.size.height >= 30, "-tall")
        self.set_class(self.size.width < 60, "-narrow")

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def conversation(self) -> Conversation:
        return self.query_one(Conversation)

    # -- turns

    @property
    def session(self) -> str | None:
        """The open chat's; None until its first question is saved."""
        return self._turns.session

    @on(Composer.Asked)
    def _asked(self, event: Composer.Asked) -> None:
        self._set_busy(True)
        self._answer(event)

    @work(group="answer")
    async def _answer(self, asked: Composer.Asked) -> None:
        await self._turns.ask(asked)
        self._set_busy(False)

    @work(group="answer")
    async def action_ask_cloud(self) -> None:
        if not self._is_busy("ask the cloud"):
            self._set_busy(True)
            await self._turns.ask_cloud()
            self._set_busy(False)

    @work(group="answer")
    async def action_try_again(self) -> None:
        if not self._is_busy("try again"):
            self._set_busy(True)
            await self._turns.try_again()
            self._set_busy(False)

    @on(ConsentAsked)
    @work(group="window")
    async def _consent_asked(self, event: ConsentAsked) -> None:
        proposal, around = event.proposal, self._around
        price = around.settings.cloud_prices.get(proposal.payload.endpoint.model)
        window = ConsentWindow(proposal, price, around.decisions(), around.preview)
        event.reply.set_result(await self.app.push_screen_wait(window) or "no")

    def action_route(self, question: str = "") -> None:
        window = self._turns.route_window(question)
        if window is not None:
            self.app.push_screen(window)

    @on(Composer.Attached)
    def _attached(self, event: Composer.Attached) -> None:
        self._folder = event.attachment.path.parent
        self._prepare((event.attachment,))

    @work(group="prepare")
    async def _prepare(self, attachments: Sequence[Attachment]) -> None:
        """The model is loaded, and images are looked at, while the user still types."""
        status, name = self.query_one(StatusLine), self._around.settings.model
        try:
            async for batch in batches(self._around.backend.prepare([a.path for a in attachments])):
                for event in batch:
                    if isinstance(event, Progress):
                        status.doing = progress_text(event)
                    elif isinstance(event, Ready):
                        name = event.model
                    elif isinstance(event, Failed):
                        self.composer.say(event.message, wrong=True)
        except Exception as error:
            self.composer.say(self._around.report(error), wrong=True)
        status.model, status.doing = name, ""

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Stopping is offered while there is something to stop."""
        if action == "stop":
            return self.is_mounted and self.composer.busy
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        self._around.backend.cancel()
        self.composer.prompt.focus()

    def action_back(self) -> None:
        self.composer.prompt.focus()

    def action_interrupt(self) -> None:
        """What Ctrl+C means depends on what there is to interrupt."""
        now, prompt = self._around.clock(), self.composer.prompt
        selected = prompt.selected_text or self.get_selected_text()
        if selected:
            self._copy(selected, "the selection")
        elif self.composer.busy:
            self.action_stop()
        elif prompt.text:
            prompt.asked.add(prompt.text)
            prompt.clear()
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
        self.conversation.scroll_home(animate=False)

    def action_follow(self) -> None:
        self.conversation.anchor()

    @on(MessageView.Copied)
    def _message_copied(self, event: MessageView.Copied) -> None:
        self._copy(event.text, "the message")

    @on(MessageView.Recalled)
    def _message_recalled(self, event: MessageView.Recalled) -> None:
        self.composer.prompt.recall(event.text)
        self.composer.prompt.focus()

    @on(Markdown.LinkClicked)
    def _link_clicked(self, event: Markdown.LinkClicked) -> None:
        """An address in an answer is the model's word: it is shown first, and opened by a second click."""
        event.stop()
        address, now = one_line(event.href), self._around.clock()
        if not address.startswith(("https://", "http://")):
            self.composer.say(f"Not opened, since it is no web address: {address}", wrong=True)
        elif self._link[0] == address and now - self._link[1] < TWICE_SECONDS * 2:
            self.app.open_url(address)
        else:
            self._link = (address, now)
            self.composer.say(f"Click again to open {address}")

    # -- commands; each takes the text after its name

    @on(Composer.CommandGiven)
    async def _command(self, event: Composer.CommandGiven) -> None:
        await self.run_command(event.command.action, event.argument)

    async def run_command(self, action: str, argument: str) -> None:
        result = getattr(self, f"action_{action}")(*([argument] if argument else []))
        if asyncio.iscoroutine(result):
            await result

    def action_image(self, path: str = "") -> None:
        if path:
            self.composer.attach([typed_path(path)])
        else:
            self._pick()

    @work(group="window")
    async def _pick(self) -> None:
        path = await self.app.push_screen_wait(FilePicker(self._folder, self._around.preview))
        if path is not None:
            self.composer.attach([path])

    async def action_detach(self, name: str = "") -> None:
        await self.composer.detach(name)

    async def action_new(self) -> None:
        if self._is_busy("start a new chat"):
            return
        await self.conversation.clear()
        self._turns.forget()
        self.query_one(StatusLine).chat = NEW_CHAT
        self.composer.prompt.focus()

    @work(group="window")
    async def action_sessions(self, words: str = "") -> None:
        if self._around.sessions is None:
            self.composer.say("Chats are not saved here.", wrong=True)
        elif not self._is_busy("open another chat"):
            window = SessionsWindow(self._around.sessions, words, self._key("sessions.delete"))
            session = await self.app.push_screen_wait(window)
            if self.session is not None and self.session in window.deleted:
                await self.action_new()
            if session is not None:
                self._open(session)

    @work(group="window")
    async def action_adapter(self, name: str = "") -> None:
        if name:
            await self._next.use_adapter(name)
        else:
            await self._next.choose_adapter()

    @work(group="window")
    async def action_adapters(self, words: str = "") -> None:
        await self._next.choose_adapter(words)

    @work(group="window")
    async def action_mode(self, name: str = "") -> None:
        if name:
            self._next.use_mode(name)
        else:
            await self._next.choose_mode()

    @work(group="window")
    async def action_offline(self, wanted: str = "") -> None:
        await self._next.turn_offline(wanted)

    def action_copy_answer(self) -> None:
        answer = self.conversation.last_answer
        if answer is None:
            self.composer.say("There is no answer to copy yet.", wrong=True)
        else:
            self._copy(answer.text, "the answer")

    def action_help(self) -> None:
        self.app.push_screen(HelpWindow(KEY_OWNERS, self._around.settings.keys))

    def action_quit(self) -> None:
        self.app.exit()

    # -- inside

    def _set_busy(self, busy: bool) -> None:
        self.composer.busy = busy
        self.refresh_bindings()

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.composer.say(f"Copied {what}.")

    def _is_busy(self, purpose: str) -> bool:
        if self.composer.busy:
            self.composer.say(f"Stop the answer first ({self._key('chat.stop')}) to {purpose}.", wrong=True)
        return self.composer.busy

    @work(group="open", exclusive=True)
    async def _open(self, session: str) -> None:
        assert self._around.sessions is not None, "only a saved chat can be opened"
        self._set_busy(True)
        try:
            chat = await asyncio.to_thread(load_chat, self._around.sessions, session)
        except UserError as error:
            self.composer.say(str(error), wrong=True)
        else:
            await self._turns.show(chat)
            self.query_one(StatusLine).chat = chat.title
            self.composer.prompt.focus()
        self._set_busy(False)

    @work(group="remember")
    async def _remember(self) -> None:
        if self._around.sessions is not None:
            try:
                questions = await asyncio.to_thread(earlier_questions, self._around.sessions)
            except UserError as error:
                self.composer.say(str(error), wrong=True)
            else:
                self.composer.prompt.asked.put_first(questions)

    def _key(self, name: str) -> str:
        return key_name(name, self._around.settings.keys)

    def _welcome(self) -> str:
        leaves = "" if self._endpoint is None else f" unless you let a question go to {self._endpoint}"
        return (
            f"Ask about an image, or anything else. Everything happens on this machine{leaves}.\n\n"
            f"Attach an image: {self._key('chat.image')} picks it, @path finds it as you type, "
            "or paste or drop its path.\n"
            f"{self._key('chat.help')} shows the keys and commands."
        )
