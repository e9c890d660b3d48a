"""A turn may bring its conversation and its model, and can be stopped without stopping others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import Answered, EarlierMessage, Failed
from edge_app.storage.sessions import SessionStore
from models.core.types import Message
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine


@pytest.fixture
def assistant(home: object, engine: FakeEngine) -> Iterator[Assistant]:
    del home
    with Assistant(settings.Settings(), None, engine.load) as assistant:
        yield assistant


def test_the_model_reads_the_conversation_that_came_with_the_turn(
    assistant: Assistant, engine: FakeEngine
) -> None:
    earlier = (
        EarlierMessage("user", "What is in the photo?", (png("red"),)),
        EarlierMessage("assistant", "A cat."),
    )
    turn = Turn("What colour is it?", earlier=earlier, system="Be brief.", adapter="none")
    assert isinstance(list(assistant.answer(turn))[-1], Answered)
    system, question, answer, last = engine.calls[0].messages
    assert (system, answer, last) == (
        Message("system", "Be brief."),
        Message("assistant", "A cat."),
        Message("user", "What colour is it?"),
    )
    assert question.text == "What is in the photo?" and len(question.images) == 1


def test_an_earlier_image_that_cannot_be_read_is_told_before_anything_runs(
    assistant: Assistant, engine: FakeEngine
) -> None:
    turn = Turn("And now?", earlier=(EarlierMessage("user", "This?", (b"no image",)),))
    (failed,) = list(assistant.answer(turn))
    assert isinstance(failed, Failed) and "not an image" in failed.message
    assert engine.calls == []


def test_a_turn_names_a_model_that_no_catalog_has(assistant: Assistant) -> None:
    (failed,) = list(assistant.answer(Turn("?", model="nothing", adapter="none")))
    assert isinstance(failed, Failed) and "nothing" in failed.message


def test_one_answer_is_stopped_and_the_others_go_on(
    home: object, store: SessionStore, engine: FakeEngine
) -> None:
    del home
    stopped, other = Turn("one", adapter="none"), Turn("two", adapter="none")
    ends: dict[str, str] = {}
    both_started = threading.Barrier(2, timeout=240)

    def read(turn: Turn) -> None:
        events = assistant.answer(turn)
        next(events)  # the question is saved, and the answer can be cancelled
        both_started.wait()
        for event in events:
            if isinstance(event, Answered):
                ends[turn.question] = event.answer.stop_reason

    cancelled = threading.Event()
    engine.before_token = lambda _: cancelled.wait(240) and None
    with Assistant(settings.Settings(), store, engine.load) as assistant:
        threads = [threading.Thread(target=read, args=(turn,)) for turn in (stopped, other)]
        for thread in threads:
            thread.start()
        while not engine.calls:
            threading.Event().wait(0.01)
        assistant.cancel(stopped)
        cancelled.set()
        for thread in threads:
            thread.join(240)
    assert ends == {"one": "cancelled", "two": "stop"}
