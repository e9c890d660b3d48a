"""One turn is saved as it comes, and a timer saves what nothing else would."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from edge_app.storage.session_records import SavedTurn
from edge_app.storage.sessions import SessionStore
from edge_app.turns import recorder as module
from edge_app.turns.recorder import TimedSaver, TurnRecorder
from models.core.errors import UserError
from tests.edge_app.test_answer import ANSWER


@pytest.fixture
def recorder(store: SessionStore) -> TurnRecorder:
    return TurnRecorder(store, store.begin_turn(session=None, question="What?", images=(), system=None))


def turn(store: SessionStore) -> SavedTurn:
    return store.get(store.latest()).turns[-1]


def test_the_stop_reason_decides_the_status(recorder: TurnRecorder, store: SessionStore) -> None:
    recorder.save_partial("A ")
    assert (turn(store).status, turn(store).answer) == ("answering", "A ")
    recorder.finish(replace(ANSWER, stop_reason="cancelled"))
    assert turn(store).status == "stopped"
    recorder.finish(replace(ANSWER, stop_reason="length"))
    assert turn(store).status == "complete"


def test_a_failure_keeps_the_text_and_the_sentence(recorder: TurnRecorder, store: SessionStore) -> None:
    recorder.fail("A ", "The model is damaged.")
    assert (turn(store).status, turn(store).answer, turn(store).error) == (
        "failed",
        "A ",
        "The model is damaged.",
    )


def test_a_broken_cloud_answer_stands_beside_the_local_one(
    recorder: TurnRecorder, store: SessionStore
) -> None:
    recorder.finish(ANSWER)
    recorder.save_broken("The ")
    assert (turn(store).answer, turn(store).broken) == ("A cat.", "The ")


def test_without_a_store_nothing_is_saved_and_nothing_fails() -> None:
    recorder = TurnRecorder(None, None)
    recorder.save_partial("A ")
    recorder.save_broken("The ")
    recorder.finish(ANSWER)
    recorder.fail("A ", "It failed.")
    assert (recorder.session, recorder.saved) == (None, None)


def test_a_disk_error_does_not_replace_the_failure_that_is_reported(
    recorder: TurnRecorder, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("The disk is full.")

    for method in ("fail_turn", "save_broken", "finish_turn"):
        monkeypatch.setattr(store, method, full)
    recorder.fail("A ", "The model is damaged.")
    recorder.save_broken("The ")
    with pytest.raises(UserError, match="disk is full"):
        recorder.finish(ANSWER)


def test_the_timer_saves_once_for_texts_that_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    saves = threading.Semaphore(0)
    saver = TimedSaver(saves.release)
    saver.text_came()
    assert saves.acquire(timeout=240)
    saver.text_came()
    assert saves.acquire(timeout=240), "later text is saved again"
    saver.stop()


def test_nothing_is_saved_after_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[threading.Timer] = []

    class Timer(threading.Timer):
        """Never fires by itself."""

        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr(threading, "Timer", Timer)
    saves: list[None] = []
    saver = TimedSaver(lambda: saves.append(None))
    saver.text_came()
    saver.text_came()
    assert len(timers) == 1, "one timer is enough"
    saver.stop()
    timers[0].function()
    saver.text_came()
    assert (saves, len(timers)) == ([], 1)
