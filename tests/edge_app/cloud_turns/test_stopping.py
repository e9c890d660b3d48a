"""A turn that is stopped, left or killed keeps the text that came."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from edge_app.assistant import Turn
from edge_app.events import (
    Escalated,
    Event,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from router.place_policy import Mode
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, Wire, word
from tests.edge_app.cloud_turns.support import (
    LOCAL,
    Make,
    ask,
    final,
    saved,
    stops_in_the_middle,
    until,
)
from tests.edge_app.fakes import FakeEngine


def test_a_cloud_answer_that_is_stopped_keeps_what_came(make: Make, store: SessionStore) -> None:
    came = threading.Event()

    def stops_once_it_came(wire: Wire) -> None:
        wire.send(STREAM, word("The "))
        assert came.wait(240)
        assistant.cancel()
        wire.wait_until_gone()

    events = []
    with Misbehaving(stops_once_it_came) as server:
        assistant = make(server.url)
        for each in assistant.answer(Turn("What is this?", allow_cloud=True)):
            events.append(each)
            if isinstance(each, TokenText) and each.text == "The ":
                came.set()
        assert server.wires[0].gone.wait(240)
    answer = final(events)
    assert (answer.text, answer.stop_reason, answer.place) == ("The ", "cancelled", "cloud")
    assert answer.kept == LOCAL
    assert (saved(store).status, saved(store).result) == ("stopped", answer)


def test_stopping_before_the_cloud_s_first_text_keeps_the_local_answer(
    make: Make, store: SessionStore
) -> None:
    def stops_at_the_request(wire: Wire) -> None:
        assistant.cancel()
        wire.wait_until_gone()

    with Misbehaving(stops_at_the_request) as server:
        assistant = make(server.url)
        answer = ask(assistant)
    assert (answer.text, answer.place, answer.stop_reason) == (LOCAL, "local", "stop")
    assert "not waited for" in answer.reason
    assert (saved(store).status, saved(store).result) == ("complete", answer)


def test_a_stopped_local_answer_is_not_sent_anywhere(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    assistant = make(server.url)
    engine.before_token = lambda number: assistant.cancel() if number == 1 else None
    answer = ask(assistant)
    assert (answer.text, answer.stop_reason, server.requests) == ("A ", "cancelled", [])


@pytest.mark.parametrize(
    ("mode", "leaves_at", "answer", "state", "kept"),
    [
        ("auto", TurnSaved, "", "stopped", None),
        ("auto", Escalated, LOCAL, "complete", None),
        ("quality", Escalated, "", "stopped", None),
        ("quality", TokenText, "The ", "stopped", None),
    ],
)
def test_leaving_the_iterator_loses_nothing(
    make: Make,
    store: SessionStore,
    mode: Mode,
    leaves_at: type[Event],
    answer: str,
    state: str,
    kept: str | None,
) -> None:
    with Misbehaving(stops_in_the_middle) as server:
        events = make(server.url).answer(Turn("?", mode=mode, allow_cloud=True))
        for each in events:
            if isinstance(each, leaves_at):
                break
        events.close()
        turn = saved(store)
    assert (turn.answer, turn.status, turn.kept) == (answer, state, kept)


KILLED = """
import sys
from edge_app import settings
from edge_app.system import paths
from edge_app.assistant import Assistant, Turn
from edge_app.storage.sessions import SessionStore
from tests.edge_app.fakes import FakeEngine
chosen = settings.load(paths.config_file())
assistant = Assistant(chosen, SessionStore.open(), FakeEngine(logprob=-5.0).load)
for event in assistant.answer(Turn("What is this?", mode=sys.argv[1], allow_cloud=True)):
    print(event, flush=True)
"""


@pytest.mark.parametrize(
    ("mode", "answer", "state", "broken"),
    [("auto", LOCAL, "complete", "The "), ("quality", "The ", "interrupted", None)],
)
def test_kill_9_in_the_middle_of_a_cloud_answer_keeps_both(
    monkeypatch: pytest.MonkeyPatch, mode: Mode, answer: str, state: str, broken: str | None
) -> None:
    """The endpoint pauses, so that only the timer saves."""
    monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    with Misbehaving(stops_in_the_middle) as server:
        monkeypatch.setenv("EDGE_APP_CLOUD_URL", server.url)
        child = subprocess.Popen([sys.executable, "-c", KILLED, mode], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        while "TokenText(text='The ')" not in child.stdout.readline():
            assert child.poll() is None
        store = SessionStore.open()
        until(lambda: "The " in (saved(store).answer, saved(store).broken))
        store.close()
        child.kill()
        child.communicate()
    again = SessionStore.open()
    turn = saved(again)
    again.close()
    assert (turn.answer, turn.status, turn.broken) == (answer, state, broken)


def test_an_interruption_is_raised_once_the_stopped_answer_has_been_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app.cloud import client

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with Misbehaving(lambda wire: wire.wait_until_gone()) as server:
        events, seen = make(server.url).answer(Turn("?", allow_cloud=True)), []
        with pytest.raises(KeyboardInterrupt):
            for each in events:
                seen.append(each)
                if isinstance(each, Escalated):
                    monkeypatch.setattr(client._Clock, "check", interrupted)
    assert final(seen).text == LOCAL
