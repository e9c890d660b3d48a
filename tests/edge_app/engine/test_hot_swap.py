"""Adapters change, come and go while answers are being made; every answer is that of a fresh engine.

A real engine on a tiny random model, so that hundreds of switches take seconds; what an answer must be is
computed by an engine that was loaded for that one answer, from tensors that never went through the bank.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from adapters.bank import AdapterBank
from adapters.spec import parse_spec
from adapters.store.adapter_store import AdapterStore
from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.engine import engine_pool
from edge_app.events import Answered, Failed, TokenText
from edge_app.system import paths
from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker
from models.compiled_engine import CompiledEngine
from models.core.types import Message, Sampling
from models.engine import AdapterPacker
from models.language.generation import Generation
from models.packing.llama_shape import LlamaShape
from tests.adapters.folders import put, remove
from tests.models.tiny_directory import model_files, write_directory

pytestmark = pytest.mark.slow

NAMES, VERSIONS = ("a", "b", "c"), (0, 1, 2)
SPECS = ("none", "a", "b", "c", "a:0.5,b:0.5", "c:-1.5", "b,c")
QUESTIONS = (
    "Tell me about cats.",
    "Tell me about cats and dogs.",
    "Tell me about cats and dogs and rain.",
    "What is this?",
)
SAMPLING = Sampling(max_tokens=12)
Version = int | None
"""Of an adapter's files; None while it is removed."""


@dataclass
class World:
    """The adapters' folder, and which versions could be seen in it at what time."""

    directory: Path
    shape: LlamaShape
    seen: dict[str, list[tuple[float, float, Version]]] = field(default_factory=dict)

    def change(self, name: str, version: Version) -> None:
        """The new version may be seen from before the change on, the old one until after it."""
        began = time.monotonic()
        if version is None:
            remove(self.directory, name)
        else:
            self.put(name, version, self.directory)
        history = self.seen.setdefault(name, [])
        if history:
            history[-1] = (history[-1][0], time.monotonic(), history[-1][2])
        history.append((began, float("inf"), version))

    def put(self, name: str, version: int, directory: Path) -> None:
        put(directory, name, 10 * NAMES.index(name) + version, 4 + 8 * version, self.shape, times=30)

    def versions(self, name: str, start: float, end: float) -> set[Version]:
        return {version for began, ended, version in self.seen[name] if began <= end and ended >= start}


@dataclass(frozen=True)
class SwapOutcome:
    spec: str
    question: str
    start: float
    end: float
    last: Answered | Failed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_directory(tmp_path_factory.mktemp("tiny") / "model")


@dataclass
class Loader:
    """What the assistant loads its engine with."""

    model: Path
    cache: Path
    loads: int = 0

    def __call__(self, *_: object) -> CompiledEngine:
        self.loads += 1
        return CompiledEngine.load(model_files(self.model), cache_dir=self.cache, threads=1)


@pytest.fixture
def loader(model: Path, engine_cache: Path) -> Loader:
    return Loader(model, engine_cache)


@pytest.fixture
def world(home: Path, loader: Loader) -> World:
    engine = loader()
    loader.loads = 0
    made = World(home / "data" / "adapters", engine.shape)
    engine.close()
    for name in NAMES:
        made.change(name, 0)
    return made


@pytest.fixture
def assistant(world: World, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[Assistant]:
    """With room for two adapters in memory, so that they also come and go by themselves."""

    def crowded(store: AdapterStore, _: int, packer: AdapterPacker) -> AdapterBank:
        return AdapterBank(store, 2 * 16 * 6000, packer)

    del world
    monkeypatch.setattr(engine_pool, "AdapterBank", crowded)
    assistant = Assistant(settings.load(paths.config_file()), None, loader)
    yield assistant
    assistant.close()


class Fresh:
    """What an engine says that was loaded for one answer."""

    def __init__(self, world: World, loader: Loader, folder: Path) -> None:
        self._world, self._loader = world, loader
        for name, version in product(NAMES, VERSIONS):
            world.put(name, version, folder / str(version))
        self._stores = {version: AdapterStore(folder / str(version)) for version in VERSIONS}
        self.answer = cache(self._answer)

    def _answer(self, spec: str, versions: tuple[int, ...], question: str) -> str:
        engine = self._loader()
        adapter = None if spec == "none" else self._adapter(engine.adapters, spec, versions)
        generation = engine.generate([Message("user", question)], SAMPLING, adapter=adapter)
        for _ in generation:
            pass
        engine.close()
        return generation.text

    def _adapter(
        self, packer: CompiledAdapterPacker, spec: str, versions: tuple[int, ...]
    ) -> CompiledAdapter:
        parsed = parse_spec(spec)
        parts = [
            (packer.pack(self._stores[version].load(name).weights), scale)
            for (name, scale), version in zip(parsed.parts, versions, strict=True)
        ]
        return parts[0][0] if parsed.is_plain else packer.add(spec, 1, parts)

    def possible(self, world: World, outcome: SwapOutcome) -> set[str | None]:
        """The answers that were right at some moment of this one; None when it could have been missing."""
        names = () if outcome.spec == "none" else parse_spec(outcome.spec).names
        seen = [world.versions(name, outcome.start, outcome.end) for name in names]
        present = [[version for version in each if version is not None] for each in seen]
        missing: set[str | None] = {None} if any(None in each for each in seen) else set()
        return missing | {self.answer(outcome.spec, each, outcome.question) for each in product(*present)}


@pytest.fixture
def fresh(world: World, loader: Loader, tmp_path: Path) -> Fresh:
    return Fresh(world, loader, tmp_path / "versions")


def ask(assistant: Assistant, spec: str, question: str, leave_after: int | None = None) -> SwapOutcome | None:
    """None when it was left after so many pieces of text."""
    start, pieces = time.monotonic(), 0
    events = assistant.answer(Turn(question, adapter=spec, sampling=SAMPLING))
    for event in events:
        if isinstance(event, Answered | Failed):
            return SwapOutcome(spec, question, start, time.monotonic(), event)
        pieces += isinstance(event, TokenText)
        if pieces == leave_after:
            events.close()
            return None
    raise AssertionError("the turn had no end")


def check(world: World, fresh: Fresh, outcome: SwapOutcome) -> None:
    possible = fresh.possible(world, outcome)
    if isinstance(outcome.last, Failed):
        assert None in possible, outcome
        assert "no adapter" in outcome.last.message, outcome
        return
    answer = outcome.last.answer
    assert answer.adapter == (None if outcome.spec == "none" else str(parse_spec(outcome.spec)))
    whole = [each for each in possible if each is not None]
    if answer.stop_reason == "cancelled":
        said = answer.text.rstrip("\ufffd")  # half a character is shown so
        assert any(each.startswith(said) for each in whole), (outcome, whole)
    else:
        assert answer.text in whole, (outcome, whole)


def test_every_adapter_says_something_else(world: World, fresh: Fresh) -> None:
    """Or the tests below would mean nothing."""
    del world
    for question in QUESTIONS:
        plain = {(spec, (0,) * len(parse_spec(spec).names)) for spec in SPECS if spec != "none"}
        plain |= {(name, (version,)) for name, version in product(NAMES, VERSIONS)}
        said = [fresh.answer("none", (), question)] + [fresh.answer(*each, question) for each in plain]
        assert len(set(said)) == len(said)


def test_switching_at_random_changes_no_answer(
    assistant: Assistant, world: World, fresh: Fresh, loader: Loader
) -> None:
    choose = random.Random(1)
    ask(assistant, "none", "Begin.")
    assert loader.loads == 1
    outcomes = [ask(assistant, choose.choice(SPECS), choose.choice(QUESTIONS)) for _ in range(120)]
    assert loader.loads == 1, "a new adapter needs no new model"
    for outcome in outcomes:
        assert outcome is not None
        check(world, fresh, outcome)


def test_an_adapter_installed_while_the_model_runs_answers_at_once(
    assistant: Assistant, world: World, fresh: Fresh
) -> None:
    world.change("b", None)
    ask(assistant, "a", QUESTIONS[0])
    missing = ask(assistant, "b", QUESTIONS[0])
    assert missing is not None
    assert isinstance(missing.last, Failed)
    world.change("b", 2)
    outcome = ask(assistant, "b", QUESTIONS[0])
    assert outcome is not None
    assert isinstance(outcome.last, Answered)
    assert outcome.last.answer.text == fresh.answer("b", (2,), QUESTIONS[0])


def test_a_replaced_adapter_shares_nothing_with_the_one_before(
    assistant: Assistant, world: World, fresh: Fresh
) -> None:
    for version in (0, 1, 2, 0):
        world.change("a", version)
        for spec in ("a", "a:0.5,b:0.5"):
            said = [ask(assistant, spec, question) for question in QUESTIONS[:2]]
            versions = (version,) if spec == "a" else (version, 0)
            for question, outcome in zip(QUESTIONS, said, strict=False):
                assert outcome is not None and isinstance(outcome.last, Answered)
                assert outcome.last.answer.text == fresh.answer(spec, versions, question)
        ask(assistant, "a", QUESTIONS[0])  # the next version's turn finds this one's keys and values


def test_answers_are_right_while_adapters_are_switched_cancelled_removed_and_replaced(
    assistant: Assistant, world: World, fresh: Fresh
) -> None:
    outcomes: list[SwapOutcome] = []
    troubles: list[BaseException] = []
    over = threading.Event()

    def guarded(work: Any, seed: int) -> threading.Thread:
        def run() -> None:
            try:
                work(random.Random(seed))
            except BaseException as error:
                troubles.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def chat(choose: random.Random) -> None:
        spec = "a"
        for _ in range(60):
            spec = spec if choose.random() < 0.4 else choose.choice(SPECS)
            if choose.random() < 0.2:
                assistant.prefetch(choose.choice(SPECS))
            leave = choose.randrange(8) if choose.random() < 0.15 else None
            outcome = ask(assistant, spec, choose.choice(QUESTIONS), leave)
            if outcome is not None:
                outcomes.append(outcome)

    def meddle(choose: random.Random) -> None:
        while not over.wait(choose.random() / 25):
            name = choose.choice(NAMES)
            gone = not (world.directory / name).exists()
            world.change(name, choose.choice(VERSIONS) if gone or choose.random() < 0.7 else None)

    def stop(choose: random.Random) -> None:
        for _ in range(20):  # bounded, so that on a slow machine most turns still come to their end
            if over.wait(choose.random() / 2):
                return
            assistant.cancel()

    ask(assistant, "none", "Begin.")
    chats = [guarded(chat, seed) for seed in range(3)]
    others = [guarded(meddle, 10), guarded(stop, 11)]
    for thread in chats:
        thread.join()
    over.set()
    for thread in others:
        thread.join()
    assert troubles == []
    for outcome in outcomes:
        check(world, fresh, outcome)
    (resident,) = assistant._pool.residents().values()
    bank = resident.bank
    assert all(each.leases == 0 for each in bank.residents())
    ended = [o.last.answer.stop_reason for o in outcomes if isinstance(o.last, Answered)]
    assert len(ended) - ended.count("cancelled") > 20


@pytest.mark.parametrize("spec", SPECS)
def test_a_cancelled_answer_leaves_no_trace_in_the_next(
    assistant: Assistant, world: World, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    """The engine waits for the cancel, so that it always comes in time however fast the model is."""
    generate = CompiledEngine.generate

    def cancelled_before_the_first_token(engine: CompiledEngine, *given: Any, **named: Any) -> Generation:
        assistant.cancel()
        assert named["cancel"].wait(240)
        return generate(engine, *given, **named)

    ask(assistant, "none", "Begin.")
    with monkeypatch.context() as held:
        held.setattr(CompiledEngine, "generate", cancelled_before_the_first_token)
        stopped = ask(assistant, spec, QUESTIONS[0])
    assert stopped is not None and isinstance(stopped.last, Answered)
    assert stopped.last.answer.stop_reason == "cancelled"
    check(world, fresh, stopped)
    after = ask(assistant, spec, QUESTIONS[0])
    assert after is not None and isinstance(after.last, Answered)
    assert after.last.answer.stop_reason != "cancelled"
    check(world, fresh, after)
    (resident,) = assistant._pool.residents().values()
    bank = resident.bank
    assert all(each.leases == 0 for each in bank.residents())
