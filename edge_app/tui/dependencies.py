"""The parts that the chat works with, passed in so that tests can replace them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from textual.widget import Widget

from adapters.store.adapter_store import InstalledAdapter
from edge_app.cloud.access import State
from edge_app.cloud.consent import ConsentStore
from edge_app.events import Event, Picture, Turn
from edge_app.images.image_detail import ImageDetail
from edge_app.settings import ENVIRONMENT_PREFIX, Settings
from edge_app.settings_file import change_settings_file
from edge_app.storage.sessions import SessionStore
from edge_app.system.battery import Battery
from edge_app.system.offline import Switch
from models.core.errors import UserError
from models.hub.store import ModelStatus


class Backend(Protocol):
    """The methods of edge_app.assistant.Assistant that the chat uses."""

    def answer(self, turn: Turn) -> Iterator[Event]: ...

    def ask_cloud(self, session: str, turn: int) -> Iterator[Event]: ...

    def route(self, turn: Turn) -> Iterator[Event]: ...

    def prepare(
        self, images: Sequence[Picture] = (), detail: ImageDetail | None = None
    ) -> Iterator[Event]: ...

    def prefetch(self, adapter: str) -> None: ...

    def use_model(self, name: str) -> None: ...

    def cancel(self) -> None: ...

    @property
    def cloud_state(self) -> State: ...


class ChatModels(Protocol):
    """The methods of edge_app.engine.model_library.ModelLibrary that the chat uses."""

    def list(self) -> tuple[ModelStatus, ...]: ...

    def names(self) -> tuple[str, ...]: ...

    def show(self, name: str) -> ModelStatus: ...

    def machine_memory(self) -> int: ...

    def pull(self, name: str) -> Iterator[Event]: ...

    def better(self, model: str) -> ModelStatus | None: ...

    def offer(self, model: str) -> ModelStatus | None: ...


@dataclass(frozen=True)
class ChatDependencies:
    """The parts of the chat.

    models: the models that can be chosen. sessions: None when nothing is saved. adapters: reads the names of the
    installed adapters. described: reads the installed adapters. coming: reads the names of those that the app installs
    before the first answer. preview: the widget class that draws an image.
    clock: monotonic seconds. decisions: opens the store of the user's decisions about the cloud. battery: reads
    the battery, None without one. offline: the process's network switch. config: the settings file, which lasting
    choices are written to. defects: the log of errors in the program itself.
    """

    settings: Settings
    backend: Backend
    models: ChatModels
    sessions: SessionStore | None
    adapters: Callable[[], Sequence[str]]
    described: Callable[[], Iterable[InstalledAdapter]]
    preview: Callable[..., Widget]
    clock: Callable[[], float]
    decisions: Callable[[], ConsentStore]
    battery: Callable[[], Battery | None]
    offline: Switch
    config: Path
    defects: Path
    coming: Callable[[], Sequence[str]] = tuple

    def report(self, error: BaseException) -> str:
        """Logs a defect of the program; returns the sentence that tells the user."""
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        try:
            self.defects.parent.mkdir(parents=True, exist_ok=True)
            with self.defects.open("a", encoding="utf-8") as log:
                log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n")
                log.writelines(traceback.format_exception(error))
        except OSError:
            return f"The program made a mistake ({what}), and could not write it to {self.defects}."
        return f"The program made a mistake ({what}); the details are in {self.defects}."

    def keep(
        self, key: Literal["image_detail", "mode", "model", "theme"], value: str, *, is_default: bool = False
    ) -> str:
        """Writes a choice to the settings file before it returns, so that it outlasts the program.

        is_default: the value is the default of the key, which is then removed from the file. Returns an empty string,
        or the sentence that says why the choice does not last.
        """
        what = key.replace("_", " ")
        try:
            change_settings_file(self.config, {key: None if is_default else value})
        except UserError as error:
            return f"The {what} is {value} until you quit: {error}"
        variable = ENVIRONMENT_PREFIX + key.upper()
        if os.environ.get(variable, value) not in ("", value):
            return f"The {what} is {value} until you quit: {variable} in the environment overrides it."
        return ""
