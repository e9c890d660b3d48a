"""The chat as an application. `run` opens it and returns when the user quits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import BindingType
from textual.screen import Screen
from textual.theme import Theme

from edge_app.assistant import Assistant
from edge_app.cloud.endpoint import Endpoint
from edge_app.engine.model_library import ModelLibrary
from edge_app.event_batches import wait_for_answers
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.battery import battery
from edge_app.system.offline import switch
from edge_app.tui.chat_screen import ChatScreen
from edge_app.tui.composer.commands import COMMANDS, MODE_HELP
from edge_app.tui.composer.paste_parser import use_paste_parser
from edge_app.tui.conversation.previews import preview_class
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.keys import APP_BINDINGS, URGENT, unknown_ids
from edge_app.tui.ordered_keys import OrderedKeysApp
from edge_app.tui.windows.consent_window import ChatConsenter
from models.core.errors import UserError
from router.confidence.rule import why_ignored

DEFECTS_FILE = "chat-errors.log"
HELD = frozenset(("send", "suggest", "mention", "search", "window", "options", "session", "open"))
"""The groups of workers whose end the next key waits for."""

LEAVING_SECONDS = 5.0
"""The longest wait at the end for a running answer to be saved."""


def run(settings: Settings, sessions: SessionStore, *, session: str | None = None) -> None:
    """Opens the chat and returns when the user quits.

    session: the id of an earlier session to open. sessions: stays open. A running answer is stopped, and the part
    that was generated is saved.
    """
    assistant = Assistant(settings, sessions)
    dependencies = ChatDependencies(
        settings=settings,
        backend=assistant,
        models=ModelLibrary(),
        sessions=sessions,
        adapters=assistant.adapters.names,
        described=assistant.adapters.all,
        preview=preview_class(),
        clock=time.monotonic,
        decisions=lambda: assistant.decisions,
        battery=battery,
        offline=switch,
        config=paths.config_file(),
        defects=paths.cache_directory() / DEFECTS_FILE,
        coming=assistant.coming_adapters,
    )
    app = ChatApp(dependencies, session)
    assistant.consenter = ChatConsenter(app.chat)
    try:
        app.run()
    finally:
        assistant.cancel()
        wait_for_answers(LEAVING_SECONDS)
        assistant.close()


class ChatApp(OrderedKeysApp, inherit_bindings=False):
    TITLE = "edge-app"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = APP_BINDINGS

    def __init__(self, dependencies: ChatDependencies, session: str | None = None) -> None:
        super().__init__()
        use_paste_parser(self.driver_class)
        settings = dependencies.settings
        self._dependencies = dependencies
        wrong = [f"There is no key binding {name!r}" for name in unknown_ids(settings.keys)]
        if settings.theme in self.available_themes:
            self.theme = settings.theme
        else:
            wrong.append(f"There is no theme {settings.theme!r}")
        self._kept_theme = self.theme
        self.set_keymap(settings.keys)
        warnings = [f"{'; '.join(wrong)} (in settings.toml)."] if wrong else []
        endpoint: Endpoint | None = None
        try:
            endpoint = _endpoint(settings)
        except UserError as error:
            warnings.append(str(error))
        if ignored := why_ignored(paths.confidence_file()):
            warnings.append(ignored)
        self.chat = ChatScreen(dependencies, session, endpoint, " ".join(warnings))

    def on_mount(self) -> None:
        self.push_screen(self.chat)
        self.theme_changed_signal.subscribe(self, self._theme_chosen)

    def is_held(self) -> bool:
        """Holds the keys while a question is sent, a command is run, or a list is made that the next key acts on."""
        if self.chat.is_mounted and self.chat.composer.prompt.sending:
            return True
        held = HELD if self.screen is self.chat else HELD - {"window"}  # an open window takes the keys
        return any(worker.group in held and not worker.is_finished for worker in self.workers)

    def is_urgent(self, key: str) -> bool:
        active = self.screen.active_bindings.get(key)
        return active is not None and active.binding.id in URGENT

    def _theme_chosen(self, theme: Theme) -> None:
        """Saves the theme that was chosen. Also called for the initial theme, which is not saved again."""
        if theme.name == self._kept_theme:
            return
        self._kept_theme = theme.name
        if trouble := self._dependencies.keep("theme", theme.name):
            self.chat.composer.say(trouble, wrong=True)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: our commands, each mode by its name, then Textual's theme and screenshot."""
        if screen is self.chat:
            for command in COMMANDS:
                yield SystemCommand(
                    command.title, command.help, partial(self.chat.run_command, command.action, "")
                )
            for mode, help in MODE_HELP.items():
                yield SystemCommand(f"Mode {mode}", help, partial(self.chat.run_command, "mode", mode))
        for offered in super().get_system_commands(screen):
            if offered.title in ("Theme", "Screenshot"):
                yield offered


def _endpoint(settings: Settings) -> Endpoint | None:
    """The endpoint of the settings; None when none is set up. Raises UserError for an invalid one."""
    if settings.cloud_url is None and settings.cloud_model is None:
        return None
    from edge_app.cloud.dispatch import configured  # loaded only where an endpoint is set up

    return configured(settings)
