"""A turn is stopped, left or killed at any moment: the partial answer is saved, and the next turn goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from edge_app import settings
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.events import (
    Answered,
    Event,
    Failed,
    ImageEncoded,
    Progress,
    Ready,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Image, no_progress
from models.core.types import Progress as Report
from models.engine import PackedAdapter
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeTokens, ask, final


@pytest.fixture
def assistant(store: SessionStore, engine: FakeEngine) -> Iterator[Assistant]:
    assistant = Assistant(settings.load(paths.config_file()), store, engine.load)
    yield assistant
    assistant.close()


def test_cancel_from_another_thread_keeps_the_partial_answer(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    def stop_at_the_second(number: int) -> None:
        if number == 1:
            thread = threading.Thread(target=assistant.cancel)
            thread.start()
            thread.join()

    engine.before_token = stop_at_the_second
    answer = ask(assistant)
    assert (answer.stop_reason, answer.text) == ("cancelled", "A ")
    turn = store.get(store.latest()).turns[0]
    assert (turn.status, turn.answer, turn.result) == ("stopped", "A ", replace(answer, evidence=None))


@pytest.mark.parametrize("during", ["load", "answer"])
def test_a_stopped_answer_that_cannot_be_saved_is_a_failure_and_no_crash(
    assistant: Assistant,
    engine: FakeEngine,
    store: SessionStore,
    monkeypatch: pytest.MonkeyPatch,
    during: str,
) -> None:
    def full(*_: object) -> None:
        raise UserError("The disk is full.")

    def cancel_and_tell(report: Report) -> None:
        assistant.cancel()
        report("pull", "", 0, None)

    if during == "load":
        engine.loading = cancel_and_tell
    else:
        engine.before_token = lambda _: assistant.cancel()
    monkeypatch.setattr(store, "finish_turn", full)
    assert list(assistant.answer(Turn("?")))[-1] == Failed("The disk is full.", 1)


def test_leaving_the_iterator_stops_the_answer_and_saves_it(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    engine.words = ("word ",) * 10_000
    engine.before_token = lambda _: time.sleep(0.001)
    events = assistant.answer(Turn("?"))
    for event in events:
        if isinstance(event, TokenText):
            break
    events.close()
    turn = store.get(store.latest()).turns[0]
    assert turn.status == "stopped"
    assert turn.answer.startswith("word ")


def test_leaving_after_the_very_first_event_leaves_no_turn_unfinished(
    assistant: Assistant, store: SessionStore
) -> None:
    events = assistant.answer(Turn("?"))
    assert isinstance(next(events), TurnSaved)
    events.close()
    assert store.get(store.latest()).turns[0].status in ("stopped", "complete")


def test_a_turn_that_is_stopped_while_it_is_planned_computes_nothing(
    assistant: Assistant, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = assistant._planner.plan

    def stopped(turn: Turn) -> object:
        assistant.cancel(turn)
        return plan(turn)

    monkeypatch.setattr(assistant._planner, "plan", stopped)
    last = list(assistant.answer(Turn("What is this?")))[-1]
    assert isinstance(last, Answered)
    assert (last.answer.stop_reason, last.answer.text, engine.calls) == ("cancelled", "", [])


def test_cancel_stops_between_the_tiles_of_an_image(store: SessionStore) -> None:
    cancelled = threading.Event()

    class TiledEngine(FakeEngine):
        def encode_image(
            self, image: Image, adapter: PackedAdapter | None = None, progress: Report = no_progress
        ) -> FakeTokens:
            for number in range(13):
                progress("encode", f"Looking at {image.name}", number, 13)
                assert cancelled.wait(240)
            return super().encode_image(image, adapter, progress)

    engine = TiledEngine()
    with Assistant(settings.Settings(), store, engine.load) as assistant:
        shown = []
        for event in assistant.answer(Turn("What is this?", images=(png(),), adapter="none")):
            if isinstance(event, Progress) and event.total == 13:
                shown.append(event.done)
                assistant.cancel()
                cancelled.set()
        assert isinstance(event, Answered)
        assert (event.answer.stop_reason, event.answer.text) == ("cancelled", "")
    assert (shown, engine.encoded) == ([0], [])


def test_cancel_stops_a_download(assistant: Assistant, engine: FakeEngine, store: SessionStore) -> None:
    def endless(report: Report) -> None:
        for done in range(1_000_000):
            report("pull", "Downloading", done, None)
            time.sleep(0.001)

    engine.loading = endless
    seen = 0
    for event in assistant.answer(Turn("?")):
        if isinstance(event, Progress):
            seen += 1
            if seen == 3:
                assistant.cancel()
    assert isinstance(event, Answered)
    assert (event.answer.stop_reason, event.answer.text, event.answer.confidence) == ("cancelled", "", None)
    assert store.get(store.latest()).turns[0].status == "stopped"


def test_an_answer_waiting_for_the_load_sees_its_progress_and_stops_at_once(
    assistant: Assistant, engine: FakeEngine, store: SessionStore
) -> None:
    go_on = threading.Event()

    def slow(report: Report) -> None:
        while not go_on.is_set():
            report("compile", "Compiling", 0, None)
            time.sleep(0.01)

    engine.loading = slow
    preparing: list[Event] = []
    loader = threading.Thread(target=lambda: preparing.extend(assistant.prepare()))
    loader.start()
    while not engine.threads:
        time.sleep(0.001)
    events = assistant.answer(Turn("?"))
    assert [type(next(events)) for _ in range(2)] == [TurnSaved, Routed]
    assert isinstance(next(events), Progress)
    assistant.cancel()
    remaining = list(events)
    assert final(remaining).stop_reason == "cancelled"
    assert store.get(store.latest()).turns[0].status == "stopped"
    assert not go_on.is_set()  # the load is still under way: it was not waited for
    go_on.set()
    loader.join()
    assert isinstance(preparing[-1], Ready)
    assert ask(assistant).text == "A cat."


def test_prepare_loads_and_encodes_ahead(assistant: Assistant, engine: FakeEngine) -> None:
    events = list(assistant.prepare([png()]))
    assert [type(event) for event in events] == [Ready, Progress, ImageEncoded]
    later = [e for e in assistant.answer(Turn("?", images=(png(),))) if isinstance(e, ImageEncoded)]
    assert [event.cached for event in later] == [True]
    assert len(set(engine.encoded)) == 1


def test_answers_wait_for_one_another(assistant: Assistant) -> None:
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(assistant))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.text for answer in answers] == ["A cat."] * 4
    assert len({answer.session for answer in answers}) == 4


KILLED = """
import os, signal, time
from types import SimpleNamespace
from edge_app import settings
from edge_app.system import paths
from edge_app.assistant import Assistant, Turn
from edge_app.events import TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.turns import local_answer
from tests.edge_app.fakes import FakeEngine

now = [0.0]
local_answer.time = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)

def before_token(number):
    now[0] = 0.1 * number

engine = FakeEngine(words=("word ",) * 1000, before_token=before_token)
assistant = Assistant(settings.load(paths.config_file()), SessionStore.open(), engine.load)
came = 0
for event in assistant.answer(Turn("How far?")):
    came += isinstance(event, TokenText)
    if came == 25:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_costs_at_most_the_last_second_of_an_answer() -> None:
    """The clock is advanced by a tenth of a second with every word."""
    child = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    store = SessionStore.open()
    turn = store.get(store.latest()).turns[0]
    assert (turn.question, turn.status) == ("How far?", "interrupted")
    assert turn.answer.count("word") >= 25 - 11
    store.close()
