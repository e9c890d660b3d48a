"""The options of the next turn: adapter, mode, detail of images, what holds for one chat alone, and the network.

Each is chosen by name or in a window. The status line holds the choices.
"""

from __future__ import annotations

import asyncio

from textual.app import App

from adapters.spec import checked_spec
from adapters.store.manifest import RESERVED
from edge_app.images.image_detail import DETAILS
from edge_app.tui.composer.commands import DETAIL_HELP, MODE_HELP, MODES, ON_OFF
from edge_app.tui.composer.composer import Composer
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.open_chat import OpenChat
from edge_app.tui.options.chat_options import NAMES
from edge_app.tui.status import StatusLine
from edge_app.tui.windows.adapters_window import AdaptersWindow
from edge_app.tui.windows.window import ChoiceWindow
from models.core.errors import UserError


class TurnOptions:
    """Changes the options. Its methods run in workers of the screen, since they may wait for a window.

    offline_key: the name of the key that turns the network off and on.
    """

    def __init__(
        self,
        app: App[None],
        dependencies: ChatDependencies,
        status: StatusLine,
        composer: Composer,
        chat: OpenChat,
        offline_key: str,
    ) -> None:
        self._chat = chat
        self._app = app
        self._dependencies = dependencies
        self._status = status
        self._composer = composer
        self._offline_key = offline_key

    async def choose_adapter(self, words: str = "") -> None:
        window = AdaptersWindow(self._dependencies.described, self._status.adapter, words)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            await self.use_adapter(name)

    async def use_adapter(self, name: str) -> None:
        """Answers the next questions with an adapter, and begins to load it."""
        if name not in RESERVED:
            try:
                name = str(checked_spec(name, await asyncio.to_thread(self._dependencies.adapters)))
            except UserError as error:
                self._composer.say(str(error), wrong=True)
                return
        self._status.adapter, self._status.routed = name, ""
        self._dependencies.backend.prefetch(name)

    async def choose_mode(self) -> None:
        window = ChoiceWindow("Mode", list(MODE_HELP.items()), self._status.mode)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            self.use_mode(name)

    def use_mode(self, name: str) -> None:
        """Answers in this mode from the next question on, and after the next start."""
        if name not in MODES:
            self._composer.say(f"There is no mode {name}; there are {', '.join(MODES)}.", wrong=True)
            return
        self._status.mode = name
        if trouble := self._dependencies.keep("mode", name):
            self._composer.say(trouble, wrong=True)

    async def choose_detail(self) -> None:
        window = ChoiceWindow("Detail of images", list(DETAIL_HELP.items()), self._status.detail)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            self.use_detail(name)

    def use_detail(self, name: str) -> None:
        """Looks at images this closely from the next question on, and after the next start."""
        if name not in DETAILS:
            self._composer.say(f"There is no detail {name}; there are {', '.join(DETAILS)}.", wrong=True)
            return
        self._status.detail = name
        if trouble := self._dependencies.keep("image_detail", name):
            self._composer.say(trouble, wrong=True)

    async def set_option(self, typed: str) -> None:
        """Changes an option of this chat alone. typed: name and value; empty says what is set."""
        name, _, value = typed.replace("=", " ", 1).partition(" ")
        if not name:
            own = ", ".join(self._chat.options.words(self._dependencies.settings))
            self._composer.say(f"This chat has {own or 'the settings'}; /set changes {', '.join(NAMES)}.")
            return
        try:
            options = self._chat.options.with_value(name.lower(), value.strip().lower())
        except UserError as error:
            self._composer.say(str(error), wrong=True)
        else:
            await self._chat.set(options, self._chat.system)

    async def set_system(self, text: str) -> None:
        """Sets the system prompt of this chat. text: "off" for none; empty shows it."""
        if not text:
            now = self._chat.system if self._chat.system is not None else self._dependencies.settings.system
            self._composer.say(f"The system prompt is: {now}" if now else "There is no system prompt.")
            return
        await self._chat.set(self._chat.options, "" if text.lower() == "off" else text)
        self._composer.say(
            "There is no system prompt from the next question on."
            if text.lower() == "off"
            else "The system prompt holds from the next question on; /system off takes it back."
        )

    async def turn_offline(self, wanted: str) -> None:
        """Turns offline on or off at once, also for a running answer. wanted: "on", "off", or "" to toggle."""
        switch = self._dependencies.offline
        if wanted not in ("", *ON_OFF):
            self._composer.say(f"Offline is {' or '.join(ON_OFF)}, not {wanted}.", wrong=True)
            return
        if wanted == "on" or (not wanted and not switch.is_on):
            await asyncio.to_thread(switch.turn_on)  # it closes open connections
            self._composer.say(
                f"Offline: nothing leaves this machine until you turn it off ({self._offline_key}) or quit."
            )
        else:
            switch.turn_off()
            self._composer.say("The network may be used again; a question is sent only as you allowed.")
        self._status.offline, self._status.failing = switch.is_on, False
