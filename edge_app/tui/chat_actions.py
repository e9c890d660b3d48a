"""What the commands and keys of the chat do, and the parts of the screen that do it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from textual import work
from textual.screen import Screen

from edge_app.cloud.endpoint import Endpoint
from edge_app.tui.composer.composer import Composer
from edge_app.tui.conversation.conversation_view import ConversationView
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.keys import BINDING_GROUPS, key_name
from edge_app.tui.open_chat import OpenChat
from edge_app.tui.options.model_choice import ModelChoice
from edge_app.tui.options.turn_options import TurnOptions
from edge_app.tui.preparation import Preparation
from edge_app.tui.session_actions import SessionActions
from edge_app.tui.status import NEW_CHAT, StatusLine
from edge_app.tui.windows.file_picker import FilePicker
from edge_app.tui.windows.help_window import HelpWindow
from edge_app.tui.windows.pages_window import PagesWindow
from edge_app.tui.windows.sessions_window import SessionsWindow
from models.core.errors import UserError
from models.documents.pages import pages_of


class ChatActions(Screen[None]):
    """The actions of the screen. Each that is a command takes the text after the command's name.

    endpoint: of the cloud, None when none is set up.
    """

    def __init__(self, dependencies: ChatDependencies, endpoint: Endpoint | None) -> None:
        super().__init__()
        self._dependencies = dependencies
        self._endpoint = endpoint
        self._folder = Path.cwd()

    def _make_parts(self) -> None:
        """Makes the parts. The widgets must be mounted."""
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

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def conversation(self) -> ConversationView:
        return self.query_one(ConversationView)

    @property
    def session(self) -> str | None:
        """Id of the open chat; None until its first question is saved."""
        return self._chat.session

    async def run_command(self, action: str, argument: str) -> None:
        """Runs the action of a command. argument: the text after its name; may be empty."""
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

    def action_route(self, question: str = "") -> None:
        window = self._chat.route_window(question)
        if window is not None:
            self.app.push_screen(window)

    # -- used by several actions

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

    @work(group="earlier", exclusive=True)
    async def _show_earlier(self) -> None:
        await self._saved.show_earlier(self.conversation)

    @work(group="open", exclusive=True)
    async def _edit(self, turn: int | None) -> None:
        if not self._is_busy("edit a question"):
            await self._saved.edit(turn)

    @work(group="open", exclusive=True)
    async def _fork(self, turn: int | None) -> None:
        if not self._is_busy("fork the chat"):
            await self._saved.fork(turn)

    def _key(self, name: str) -> str:
        return key_name(name, self._dependencies.settings.keys)
