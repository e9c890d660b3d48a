"""What the chat is given to work with; tests give it scripted parts. Knows no widgets."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from textual.widget import Widget

from adapters.store.adapter_store import InstalledAdapter
from edge_app.cloud.access import State
from edge_app.cloud.consent import ConsentStore
from edge_app.events import Event
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system.battery import Battery
from edge_app.system.offline import Switch
from edge_app.turn import Picture, Turn


class Backend(Protocol):
    """The part of edge_app.assistant.Assistant that the chat uses."""

    def answer(self, turn: Turn) -> Iterator[Event]: ...

    def ask_cloud(self, session: str, turn: int) -> Iterator[Event]: ...

    def route(self, turn: Turn) -> Iterator[Event]: ...

    def prepare(self, images: Sequence[Picture] = ()) -> Iterator[Event]: ...

    def prefetch(self, adapter: str) -> None: ...

    def cancel(self) -> None: ...

    @property
    def cloud_state(self) -> State: ...


@dataclass(frozen=True)
class Surroundings:
    """adapters: the installed ones' names; described: with what they say of themselves.
    sessions: None when nothing is saved.
    preview: the widget class that draws images. clock: seconds, for elapsed times.
    decisions: what the user decided about the cloud; opened at its first use.
    battery: looks at it; None when there is none. offline: the process's switch.
    config: the file that lasting choices are written to.
    defects: the file that errors of the program itself are written to."""

    settings: Settings
    backend: Backend
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

    def report(self, error: BaseException) -> str:
        """Writes a defect down; returns the sentence that says so."""
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        try:
            self.defects.parent.mkdir(parents=True, exist_ok=True)
            with self.defects.open("a", encoding="utf-8") as log:
                log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n")
                log.writelines(traceback.format_exception(error))
        except OSError:
            return f"The program made a mistake ({what}), and could not write it to {self.defects}."
        return f"The program made a mistake ({what}); the details are in {self.defects}."
