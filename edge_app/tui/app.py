"""The chat as an application: `run` opens it and returns when it is left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.screen import Screen

from edge_app import paths
from edge_app.assistant import Assistant
from edge_app.sessions import SessionStore
from edge_app.settings import Settings
from edge_app.tui.chat_screen import ChatScreen
from edge_app.tui.commands import COMMANDS
from edge_app.tui.key_owners import APP_BINDINGS, unknown_ids
from edge_app.tui.previews import preview_class
from edge_app.tui.surroundings import Surroundings

DEFECTS_FILE = "chat-errors.log"


def run(settings: Settings, sessions: SessionStore, *, session: str | None = None) -> None:
    """Opens the chat, in an earlier session if its id is given, and returns when the user quits.

    An answer that was still coming is saved with what there was of it. sessions stays open.
    """
    assistant = Assistant(settings, sessions)
    surroundings = Surroundings(
        settings=settings,
        backend=assistant,
        sessions=sessions,
        adapters=assistant.adapters.names,
        described=assistant.adapters.all,
        preview=preview_class(),
        clock=time.monotonic,
        defects=paths.cache_directory() / DEFECTS_FILE,
    )
    try:
        ChatApp(surroundings, session).run()
    finally:
        assistant.close()


class ChatApp(App[None], inherit_bindings=False):
    TITLE = "edge-app"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = APP_BINDINGS

    def __init__(self, surroundings: Surroundings, session: str | None = None) -> None:
        super().__init__()
        settings = surroundings.settings
        wrong = [f"There is no key binding {name!r}" for name in unknown_ids(settings.keys)]
        if settings.theme in self.available_themes:
            self.theme = settings.theme
        else:
            wrong.append(f"There is no theme {settings.theme!r}")
        self.set_keymap(settings.keys)
        self.chat = ChatScreen(
            surroundings, session, f"{'; '.join(wrong)} (in settings.toml)." if wrong else ""
        )

    def on_mount(self) -> None:
        self.push_screen(self.chat)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: our commands, then Textual's theme and screenshot."""
        if screen is self.chat:
            for command in COMMANDS:
                yield SystemCommand(
                    command.title, command.help, partial(self.chat.run_command, command.action, "")
                )
        for offered in super().get_system_commands(screen):
            if offered.title in ("Theme", "Screenshot"):
                yield offered
