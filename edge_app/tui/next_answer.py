"""What the next question is answered with: the adapter, the mode, and whether the network may be used.

Chosen by name or in a window. The status line holds the choice; what becomes of it is the chat screen's affair.
"""

from __future__ import annotations

import asyncio

from textual.app import App

from adapters.spec import checked_spec
from adapters.store.manifest import RESERVED
from edge_app.tui.composer.commands import MODE_HELP, MODES, ON_OFF
from edge_app.tui.composer.composer import Composer
from edge_app.tui.preferences import keep
from edge_app.tui.status import StatusLine
from edge_app.tui.surroundings import Surroundings
from edge_app.tui.windows.adapters_window import AdaptersWindow
from edge_app.tui.windows.choice_window import ChoiceWindow
from models.core.errors import UserError


class NextAnswer:
    """Its methods run in workers of the screen: they may wait for a window."""

    def __init__(
        self, app: App[None], around: Surroundings, status: StatusLine, composer: Composer, offline_key: str
    ) -> None:
        self._app = app
        self._around = around
        self._status = status
        self._composer = composer
        self._offline_key = offline_key

    async def choose_adapter(self, words: str = "") -> None:
        window = AdaptersWindow(self._around.described, self._status.adapter, words)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            await self.use_adapter(name)

    async def use_adapter(self, name: str) -> None:
        """From the next question on; it is being loaded while that is typed."""
        if name not in RESERVED:
            try:
                name = str(checked_spec(name, await asyncio.to_thread(self._around.adapters)))
            except UserError as error:
                self._composer.say(str(error), wrong=True)
                return
        self._status.adapter, self._status.routed = name, ""
        self._around.backend.prefetch(name)

    async def choose_mode(self) -> None:
        window = ChoiceWindow("Mode", list(MODE_HELP.items()), self._status.mode)
        name = await self._app.push_screen_wait(window)
        if name is not None:
            self.use_mode(name)

    def use_mode(self, name: str) -> None:
        """From the next question on, and at the next start."""
        if name not in MODES:
            self._composer.say(f"There is no mode {name}; there are {', '.join(MODES)}.", wrong=True)
            return
        self._status.mode = name
        if trouble := keep(self._around.config, "mode", name):
            self._composer.say(trouble, wrong=True)

    async def turn_offline(self, wanted: str) -> None:
        """wanted: "on", "off", or "" for the other of the two. At once, for an answer under way too."""
        switch = self._around.offline
        if wanted not in ("", *ON_OFF):
            self._composer.say(f"Offline is {' or '.join(ON_OFF)}, not {wanted}.", wrong=True)
            return
        if wanted == "on" or (not wanted and not switch.is_on):
            await asyncio.to_thread(switch.turn_on)  # it cuts what is connected
            self._composer.say(
                f"Offline: nothing leaves this machine until you turn it off ({self._offline_key}) or quit."
            )
        else:
            switch.turn_off()
            self._composer.say("The network may be used again; a question is sent only as you allowed.")
        self._status.offline, self._status.failing = switch.is_on, False
