"""Fixtures for the tests of the chat, with a scripted assistant, so that they need no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

from adapters.store.adapter_store import InstalledAdapter
from adapters.store.manifest import AdapterManifest
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.cloud.access import State
from edge_app.cloud.consent import ConsentStore
from edge_app.events import (
    Answered,
    Event,
    Failed,
    ImageEncoded,
    Picture,
    Ready,
    Route,
    Routed,
    TokenText,
    Turn,
    TurnSaved,
)
from edge_app.images.image_detail import ImageDetail
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.battery import Battery
from edge_app.system.offline import switch
from edge_app.tui.app import ChatApp
from edge_app.tui.dependencies import ChatDependencies
from edge_app.tui.windows.file_picker import FilePicker, ImageTree
from edge_app.tui.windows.finder import Finder
from models.hub.catalog import Catalog, CatalogEntry, CatalogFile, HubSource, Pin
from models.hub.store import ModelStatus

ANSWER = Answer(
    text="",
    adapter=None,
    place="local",
    mode="auto",
    confidence=0.9,
    calibrated=True,
    reason="local: no adapter is installed",
    model="edge-vlm-135m",
    stop_reason="stop",
    tokens=TokenCounts(prompt=40, image=16, cached=0, completion=12),
    timings=Timing(route=0.1, image=80, prefill=60, first_token=210, total=400),
    tokens_per_second=181.4,
    session="0123456789ab",
)


@dataclass
class ScriptedAssistant:
    """Yields the given events. An exception among them is raised in its place.

    script: the events of a turn. cloud: the events of ask_cloud. preparation: the events of prepare. gate: when set,
    it is acquired before each event, so that a test can release the events one by one.
    """

    script: list[Event | BaseException] = field(default_factory=list)
    cloud: list[Event | BaseException] = field(default_factory=list)
    cloud_state: State = "ready"
    preparation: list[Event | BaseException] = field(default_factory=list)
    gate: threading.Semaphore | None = None
    turns: list[Turn] = field(default_factory=list)
    asked_cloud: list[tuple[str, int]] = field(default_factory=list)
    routed: list[Turn] = field(default_factory=list)
    prepared: list[tuple[Picture, ...]] = field(default_factory=list)
    prefetched: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    details: list[ImageDetail | None] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def answers(self, text: str, **changes: object) -> None:
        """Sets the script to a plain answer with a token for each word. changes: fields of the Answer."""
        *words, last = text.split(" ")
        self.script = [
            TurnSaved("0123456789ab", 1),
            Routed(Route(None, "local", "no adapter is installed"), "auto"),
            *(TokenText(word + " ") for word in words),
            TokenText(last),
            Answered(replace(ANSWER, text=text, **changes)),  # type: ignore[arg-type]
        ]

    def answer(self, turn: Turn) -> Iterator[Event]:
        self.turns.append(turn)
        yield from self._play(self.script)

    def ask_cloud(self, session: str, turn: int) -> Iterator[Event]:
        self.asked_cloud.append((session, turn))
        yield from self._play(self.cloud)

    def route(self, turn: Turn) -> Iterator[Event]:
        self.routed.append(turn)
        yield from (event for event in self.script if isinstance(event, Routed | Failed))

    def _play(self, script: Sequence[Event | BaseException]) -> Iterator[Event]:
        self.cancelled.clear()
        text = ""
        for event in script:
            while self.gate is not None and not self.gate.acquire(timeout=0.01):
                if self.cancelled.is_set():
                    break
            if self.cancelled.is_set():
                yield Answered(replace(ANSWER, text=text, stop_reason="cancelled"))
                return
            if isinstance(event, BaseException):
                raise event
            text += event.text if isinstance(event, TokenText) else ""
            yield event

    def prepare(self, images: Sequence[Picture] = (), detail: ImageDetail | None = None) -> Iterator[Event]:
        self.details.append(detail)
        self.prepared.append(tuple(images))
        for event in self.preparation:
            if isinstance(event, BaseException):
                raise event
            yield event
        if not self.preparation:
            yield Ready(self.models[-1] if self.models else "edge-vlm-135m", 2048, True)

    def prefetch(self, adapter: str) -> None:
        self.prefetched.append(adapter)

    def use_model(self, name: str) -> None:
        self.models.append(name)

    def cancel(self) -> None:
        self.cancelled.set()


def catalog_entry(name: str, good_at: str, size: int, memory: int) -> CatalogEntry:
    """A model of one file. size, memory: in bytes."""
    source = HubSource(f"owner/{name}", "0" * 40, "model.gguf")
    file = CatalogFile("language_model", Pin("model.gguf", size, "0" * 64), source)
    return CatalogEntry(name, "", "llama", "Apache-2.0", (file,), None, good_at=good_at, memory_given=memory)


CATALOG = Catalog(
    {
        entry.name: entry
        for entry in (
            catalog_entry("edge-vlm-135m", "works at once", 123_000_000, 320_000_000),
            catalog_entry("smolvlm-256m", "describes photos", 278_800_000, 480_000_000),
            catalog_entry("smolvlm-500m", "counts, reads text in images", 545_600_000, 850_000_000),
            catalog_entry("smolvlm2-2.2b", "the best answers; slow", 1_705_000_000, 2_900_000_000),
        )
    },
    "edge-vlm-135m",
)


@dataclass
class ScriptedModels:
    """The models of CATALOG, of which the default is here.

    here: the names of those that were pulled. script: the events of a download; each waits for the gate when one is
    set. offers: the names that `offer` returns, one after another.
    memory: of the machine, in bytes. stopped: set when a download is closed early.
    """

    here: set[str] = field(default_factory=lambda: {"edge-vlm-135m"})
    script: list[Event] = field(default_factory=list)
    gate: threading.Semaphore | None = None
    offers: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    memory: int = 8 * 10**9
    stopped: threading.Event = field(default_factory=threading.Event)

    def list(self) -> tuple[ModelStatus, ...]:
        statuses = [self.show(name) for name in sorted(CATALOG.entries)]
        return tuple(sorted(statuses, key=lambda status: not status.pulled))

    def names(self) -> tuple[str, ...]:
        return tuple(status.entry.name for status in self.list())

    def show(self, name: str) -> ModelStatus:
        return ModelStatus(CATALOG.entry(name), name in self.here, name == CATALOG.default)

    def machine_memory(self) -> int:
        return self.memory

    def pull(self, name: str) -> Iterator[Event]:
        self.pulled.append(name)
        try:
            for event in self.script:
                if self.gate is not None:
                    self.gate.acquire()
                yield event
        except GeneratorExit:
            self.stopped.set()
            raise
        if not any(isinstance(event, Failed) for event in self.script):
            self.here.add(name)

    def better(self, model: str) -> ModelStatus | None:
        assert model in CATALOG.entries
        return self.show("smolvlm-500m") if model == "edge-vlm-135m" else None

    def offer(self, model: str) -> ModelStatus | None:
        assert model == "edge-vlm-135m"
        return self.show(self.offers.pop(0)) if self.offers else None


@pytest.fixture
def models() -> ScriptedModels:
    return ScriptedModels()


@pytest.fixture
def assistant() -> ScriptedAssistant:
    scripted = ScriptedAssistant()
    scripted.answers("A **cat** sleeps on a sofa.")
    return scripted


class Clock:
    """A clock whose time tests set, so that elapsed times are the same in every run. now: in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def decisions(home: Path) -> Iterator[ConsentStore]:
    assert paths.sessions_file().is_relative_to(home)
    store = ConsentStore.open()
    yield store
    store.close()


MakeApp = Callable[..., ChatApp]


@pytest.fixture
def make_app(
    assistant: ScriptedAssistant,
    models: ScriptedModels,
    folder: Path,
    clock: Clock,
    tmp_path: Path,
    decisions: ConsentStore,
) -> MakeApp:
    """Makes apps. Previews are half blocks of a fixed cell size, so that they do not depend on the terminal."""
    import textual_image.widget
    from textual_image import _terminal

    _terminal.get_cell_size._result = _terminal.CellSize(10, 20)
    del folder

    def make(
        store: SessionStore | None = None,
        adapters: Sequence[str] = ("medical", "receipts"),
        session: str | None = None,
        battery: Callable[[], Battery | None] = lambda: None,
        **settings: object,
    ) -> ChatApp:
        dependencies = ChatDependencies(
            settings=Settings(**settings),  # type: ignore[arg-type]
            backend=assistant,
            models=models,
            sessions=store,
            adapters=lambda: adapters,
            described=lambda: [installed(name) for name in adapters],
            preview=textual_image.widget.HalfcellImage,
            clock=clock,
            decisions=lambda: decisions,
            battery=battery,
            offline=switch,
            config=paths.config_file(),
            defects=tmp_path / "chat-errors.log",
        )
        return ChatApp(dependencies, session)

    return make


async def settled(pilot: Pilot[None]) -> None:
    """Waits until all workers have finished and all messages are handled.

    The workers of open windows, which wait for the user, and the loader of a folder tree, which never ends, are left
    out.
    """
    await pilot.pause()
    while ending := [
        w for w in pilot.app.workers if w.group not in ("window", "_loader") and not w.is_finished
    ]:
        await pilot.app.workers.wait_for_complete(ending)
    for _ in range(5):  # handling a message may post another one, so one idle moment is not enough
        await pilot._wait_for_screen()
    await pilot.pause()


async def until(pilot: Pilot[None], condition: Callable[[], object], seconds: float = 240.0) -> None:
    """Polls until the condition holds. seconds: only bounds a hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        await pilot.pause(0.01)
    await pilot.pause()


async def opened(pilot: Pilot[None], window: type[Screen[Any]]) -> None:
    """Waits until the window is open and its content is loaded."""
    await until(pilot, lambda: isinstance(pilot.app.screen, window))
    await settled(pilot)
    if isinstance(finder := pilot.app.screen, Finder):
        await until(pilot, lambda: finder.has_searched)
        await settled(pilot)


async def picker_shows(pilot: Pilot[None], name: str) -> FilePicker:
    """Waits until the file picker's tree shows this name. Returns the picker."""
    await opened(pilot, FilePicker)
    picker = pilot.app.screen
    assert isinstance(picker, FilePicker)
    files = picker.query_one(ImageTree).root.children
    await until(pilot, lambda: name in [node.data.path.name for node in files if node.data is not None])
    await settled(pilot)
    return picker


async def type_text(pilot: Pilot[None], text: str) -> None:
    """Inserts a text at the prompt's cursor in one piece, since single keys are slow, and waits for suggestions."""
    assert isinstance(pilot.app, ChatApp)
    pilot.app.chat.composer.prompt.insert(text)
    await settled(pilot)


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await settled(pilot)


CONTROLS = {
    "\r": "enter",
    "\t": "tab",
    "\x03": "ctrl+c",
    "\x0e": "ctrl+n",
    "\x15": "ctrl+u",
    "\x1b": "escape",
    "\x7f": "backspace",
}


def burst(app: ChatApp, typed: str) -> None:
    """Sends keys as a terminal does whose input came all at once."""
    for character in typed:
        app.post_message(events.Key(CONTROLS.get(character) or _character_to_key(character), character))


def notice(app: ChatApp) -> str:
    return str(app.chat.query_one("#notice", Static).content)


def is_typing(app: ChatApp) -> bool:
    """Whether the prompt has the focus."""
    return app.focused is app.chat.composer.prompt


def installed(name: str) -> InstalledAdapter:
    manifest = AdapterManifest(name, "1.2", f"Knows all about {name}.", "edge-vlm-135m", "")
    return InstalledAdapter(name, Path(name), manifest)


def failure(sentence: str) -> Failed:
    return Failed(sentence, 1)


def encoded(name: str, *notes: str) -> ImageEncoded:
    return ImageEncoded(name, "0" * 64, (("cat", 0.9),), notes, False, 80.0)
