"""The screen of the chat: routes the composer's messages, keys and commands to the open chat and its windows.

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
from textual.screen import Screen
from textual.widgets import Footer, Markdown

from edge_app.cloud.endpoint import Endpoint
from edge_app.system.terminal_text import one_line
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.conversation_view import ConversationView
from edge_app.tui.conversation.messages import MessageView
from edge_app.tui.conversation.saved_chat import earlier_questions
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.first_card import read_first_card
from edge_app.tui.keys import BINDING_GROUPS, CHAT_BINDINGS, key_name
from edge_app.tui.model_choice import ModelChoice
from edge_app.tui.open_chat import OpenChat
from edge_app.tui.preparation import Preparation
from edge_app.tui.session_actions import SessionActions
from edge_app.tui.status import NEW_CHAT, StatusLine
from edge_app.tui.turn_options import TurnOptions
from edge_app.tui.windows.consent_window import ConsentAsked, ConsentWindow
from edge_app.tui.windows.file_picker import FilePicker
from edge_app.tui.windows.help_window import HelpWindow
from edge_app.tui.windows.pages_window import PagesWindow
from edge_app.tui.windows.sessions_window import SessionsWindow
from models.core.errors import UserError
from models.documents.pages import pages_of

STOP_SECONDS = 0.1
"""Time after which an answer that goes on is cancelled again."""

TWICE_SECONDS = 2.0
"""Time in which a second press confirms the first."""


class ChatScreen(Screen[None]):
    """The screen.

    first: id of the session to open, None for a new chat. endpoint: of the cloud, None when none is set up.
    warning: a sentence about the settings that is shown at the start; may be empty.
    """

    BINDINGS: ClassVar[list[BindingType]] = CHAT_BINDINGS

    def __init__(
        self, dependencies: ChatDependencies, first: str | None, endpoint: Endpoint | None, warning: str
    ) -> None:
        super().__init__()
        self._dependencies = dependencies
        self._first = first
        self._endpoint = endpoint
        self._warning = warning
        self._asked_so_far = 0
        self._interrupted_at = float("-inf")
        self._link = ("", float("-inf"))
        self._folder = Path.cwd()

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
        )
        yield Composer(parts, f"Ask something · {self._key('prompt.send')} sends")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        status = self.query_one(StatusLine)
        status.adapter, status.mode = self._dependencies.settings.adapter, self._dependencies.settings.mode
        status.detail = self._dependencies.settings.image_detail
        status.offline, status.endpoint = self._dependencies.offline.is_on, self._endpoint
        self._preparation = Preparation(
            self, self._dependencies, status, self.composer, lambda: self._model.current
        )
        self._model = ModelChoice(
            self.app, self._dependencies, status, self.composer, self._preparation.begin_again, self._key
        )
        self._chat = OpenChat(
            self._dependencies,
            status,
            self.composer,
            self.conversation,
            self._key,
            self._model.offer_better,
            lambda: self._preparation.context,
        )
        self._options = TurnOptions(
            self.app, self._dependencies, status, self.composer, self._chat, self._key("chat.offline")
        )
        self._saved = SessionActions(self._dependencies, status, self.composer, self._chat)
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

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def conversation(self) -> ConversationView:
        return self.query_one(ConversationView)

    # -- turns

    @property
    def session(self) -> str | None:
        """Id of the open chat; None until its first question is saved."""
        return self._chat.session

    @on(Composer.Asked)
    def _asked(self, event: Composer.Asked) -> None:
        self._asked_so_far += 1
        self._set_busy(True)
        self._answer(event)

    @work(group="answer")
    async def _answer(self, asked: Composer.Asked) -> None:
        if await self._saved.begin_edited():
            await self._chat.ask(asked)
        else:
            await self.composer.restore(asked.text, asked.attachments)
        self._set_busy(False)

    @work(group="answer")
    async def action_ask_cloud(self) -> None:
        if not self._is_busy("ask the cloud"):
            self._set_busy(True)
            await self._chat.ask_cloud()
            self._set_busy(False)

    @work(group="answer")
    async def action_try_again(self) -> None:
        if not self._is_busy("try again"):
            self._set_busy(True)
            await self._chat.try_again()
            self._set_busy(False)

    @on(ConsentAsked)
    @work(group="window")
    async def _consent_asked(self, event: ConsentAsked) -> None:
        proposal, parts = event.proposal, self._dependencies
        price = parts.settings.cloud_prices.get(proposal.payload.endpoint.model)
        window = ConsentWindow(proposal, price, parts.decisions(), parts.preview)
        event.reply.set_result(await self.app.push_screen_wait(window) or "no")

    def action_route(self, question: str = "") -> None:
        window = self._chat.route_window(question)
        if window is not None:
            self.app.push_screen(window)

    @on(Composer.Attached)
    def _attached(self, event: Composer.Attached) -> None:
        if isinstance(event.attachment.source, Path):
            self._folder = event.attachment.source.parent
        self._preparation.look_at((event.attachment,))

    # -- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers "stop" only while an answer is being generated."""
        if action == "stop":
            return self.is_mounted and (self.composer.busy or self.composer.prompt.sending)
        return super().check_action(action, parameters)

    def action_stop(self) -> None:
        self.composer.prompt.sending = False
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
        self.conversation.scroll_home(animate=False)

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
            self.composer.attach_typed(path)
        else:
            self._pick()

    @work(group="window")
    async def _pick(self) -> None:
        path = await self.app.push_screen_wait(FilePicker(self._folder, self._dependencies.preview))
        if path is None:
            return
        try:
            pages = await asyncio.to_thread(lambda: tuple(pages_of(path)))
        except UserError as error:
            self.composer.say(str(error), wrong=True)
            return
        if len(pages) > 1:
            chosen = await self.app.push_screen_wait(PagesWindow(pages))
            if chosen is None:
                return
            path = path.with_name(chosen)
        self.composer.attach([path])

    def action_paste(self) -> None:
        self.composer.paste(or_text=False)

    async def action_detach(self, name: str = "") -> None:
        await self.composer.detach(name)

    async def action_new(self) -> None:
        if self._is_busy("start a new chat"):
            return
        await self.conversation.clear()
        self._chat.forget()
        self._saved.edited = None
        self.query_one(StatusLine).chat = NEW_CHAT
        self.composer.prompt.focus()

    @work(group="window")
    async def action_sessions(self, words: str = "") -> None:
        if self._dependencies.sessions is None:
            self.composer.say("Chats are not saved here.", wrong=True)
        elif not self._is_busy("open another chat"):
            window = SessionsWindow(self._dependencies.sessions, words, self._key("sessions.delete"))
            session = await self.app.push_screen_wait(window)
            if self.session is not None and self.session in window.deleted:
                await self.action_new()
            if session is not None:
                self._open(session)

    @work(group="window")
    async def action_adapter(self, name: str = "") -> None:
        if name:
            await self._options.use_adapter(name)
        else:
            await self._options.choose_adapter()

    @work(group="window")
    async def action_adapters(self, words: str = "") -> None:
        await self._options.choose_adapter(words)

    @work(group="window")
    async def action_model(self, name: str = "") -> None:
        if name:
            await self._model.use(name)
        else:
            await self._model.choose()

    @work(group="window")
    async def action_mode(self, name: str = "") -> None:
        if name:
            self._options.use_mode(name)
        else:
            await self._options.choose_mode()

    @work(group="window")
    async def action_detail(self, name: str = "") -> None:
        if name:
            self._options.use_detail(name)
        else:
            await self._options.choose_detail()

    @work(group="options")
    async def action_set(self, typed: str = "") -> None:
        await self._options.set_option(typed)

    @work(group="options")
    async def action_system(self, text: str = "") -> None:
        await self._options.set_system(text)

    def action_edit(self) -> None:
        self._edit(None)

    def action_fork(self) -> None:
        self._fork(None)

    @work(group="session")
    async def action_rename(self, title: str = "") -> None:
        await self._saved.rename(title)

    @work(group="session")
    async def action_export(self, target: str = "") -> None:
        await self._saved.export(target)

    @work(group="window")
    async def action_offline(self, wanted: str = "") -> None:
        await self._options.turn_offline(wanted)

    def action_copy_answer(self) -> None:
        answer = self.conversation.last_answer
        if answer is None:
            self.composer.say("There is no answer to copy yet.", wrong=True)
        else:
            self._copy(answer.text, "the answer")

    def action_help(self) -> None:
        self.app.push_screen(HelpWindow(BINDING_GROUPS, self._dependencies.settings.keys))

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
        self._set_busy(True)
        await self._saved.open(session)
        self._set_busy(False)

    @work(group="open", exclusive=True)
    async def _edit(self, turn: int | None) -> None:
        if not self._is_busy("edit a question"):
            await self._saved.edit(turn)

    @work(group="open", exclusive=True)
    async def _fork(self, turn: int | None) -> None:
        if not self._is_busy("fork the chat"):
            await self._saved.fork(turn)

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

    def _key(self, name: str) -> str:
        return key_name(name, self._dependencies.settings.keys)

    def _welcome(self) -> str:
        leaves = "" if self._endpoint is None else f" unless you let a question go to {self._endpoint}"
        return (
            f"Ask about an image, or anything else. Everything happens on this machine{leaves}.\n\n"
            f"Attach an image: {self._key('chat.image')} picks it, @path finds it as you type, "
            "or paste or drop its path.\n"
            f"{self._key('chat.help')} shows the keys and commands."
        )
