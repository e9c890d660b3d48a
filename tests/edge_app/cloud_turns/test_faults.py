"""The local answer survives every fault of the endpoint."""

from __future__ import annotations

import socket
import time
from functools import partial
from pathlib import Path

import pytest

from edge_app.cloud import dispatch
from edge_app.cloud.breaker import FAILURES
from edge_app.cloud.client import Limits
from edge_app.events import (
    CloudFailed,
    Event,
    Failed,
)
from edge_app.storage.sessions import SessionStore
from models.core.errors import UserError
from tests.edge_app.cloud.misbehaving import (
    STREAM,
    Misbehaving,
    Script,
    Wire,
    answers,
    event,
    full_backlog,
    self_signed,
    status,
    word,
)
from tests.edge_app.cloud_turns.support import (
    CLOUD,
    LOCAL,
    Make,
    after_escalation,
    ask,
    breaks_off,
    events_of,
    final,
    saved,
    stops_in_the_middle,
    text_of,
)
from tests.edge_app.fakes import FakeEngine


def drips(wire: Wire) -> None:
    wire.send(STREAM)
    while True:
        wire.words("a")
        time.sleep(0.1)


def floods(wire: Wire) -> None:
    wire.send(STREAM)
    while True:
        wire.send(word("blah " * 50))


FAULTS: dict[str, tuple[Script, str]] = {
    "401": (status(401), "does not accept the key"),
    "403": (status(403), "does not let this key"),
    "404": (status(404), "has no model big-model"),
    "413": (status(413), "does not take a question and images this large"),
    "429": (status(429), "takes no more questions"),
    "429, retry-after": (status(429, Retry_After="7"), "another 7 seconds"),
    "500": (status(500), "status 500"),
    "503": (status(503), "status 503"),
    "no JSON": (status(200, b"{]"), "not one that this app can read"),
    "no SSE": (lambda wire: wire.send(STREAM, b"data: {]\n\n"), "cannot be read"),
    "an error in the stream": (
        lambda wire: wire.send(STREAM, word("The "), event({"error": {"message": "overloaded"}})),
        "overloaded",
    ),
    "empty": (answers(), "not a word"),
    "never begins": (lambda wire: wire.wait_until_gone(), "too long to begin"),
    "stops in the middle": (stops_in_the_middle, "too long to go on"),
    "the plug is pulled": (breaks_off, "broke in the middle"),
    "drip": (drips, "is too slow"),
    "huge": (floods, "is cut off"),
    "redirect": (status(307, Location="https://evil.example/v1"), "evil.example"),
}


HASTY: dict[str, dict[str, float]] = {
    "never begins": {"cloud_first_seconds": 0.3},
    "stops in the middle": {"cloud_stall_seconds": 0.3},
}
"""One short limit each: a slow machine must not run into another one first."""


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The limits that have no setting: of bytes, and of slowness for the fault that is slow."""
    slow = {"slow_after": 0.3, "least_rate": 50.0} if request.node.callspec.params["fault"] == "drip" else {}
    monkeypatch.setattr(dispatch, "Limits", partial(Limits, answer_bytes=50_000, **slow))


def survives(events: list[Event], store: SessionStore, says: str) -> None:
    answer = final(events)
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert says in failed.message and failed.kept == LOCAL
    assert (answer.text, answer.place, answer.stop_reason, answer.kept) == (LOCAL, "local", "stop", None)
    assert answer.reason.startswith("local: ") and failed.message[1:-1] in answer.reason
    assert answer.offer == "ask_cloud"
    came = text_of(after_escalation(events))
    assert answer.broken == (came or None), "what had come of the other answer is kept too"
    turn = saved(store)
    assert (turn.answer, turn.status, turn.result, turn.broken) == (LOCAL, "complete", answer, came or None)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("small_limits")
def test_the_local_answer_survives(make: Make, store: SessionStore, fault: str) -> None:
    script, says = FAULTS[fault]
    with Misbehaving(script) as server:
        survives(events_of(make(server.url, **HASTY.get(fault, {}))), store, says)


@pytest.mark.parametrize("fault", ["500", "the plug is pulled"])
def test_cloud_first_loses_nothing_either(make: Make, store: SessionStore, fault: str) -> None:
    script, says = FAULTS[fault]
    with Misbehaving(script) as server:
        events = events_of(make(server.url), mode="quality")
    answer = final(events)
    came = "The " if fault == "the plug is pulled" else None
    assert (answer.text, answer.place, answer.broken) == (LOCAL, "local", came)
    assert says in answer.reason
    assert (saved(store).result, saved(store).broken) == (answer, came)


def test_it_survives_that_nothing_listens(make: Make, store: SessionStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    survives(events_of(make(f"http://127.0.0.1:{port}/v1")), store, "othing accepts connections")


def test_it_survives_a_name_that_is_not_there(make: Make, store: SessionStore) -> None:
    survives(events_of(make("https://nowhere.invalid/v1")), store, "nowhere.invalid cannot be found")


def test_the_local_answer_survives_a_self_signed_certificate(
    make: Make, store: SessionStore, tmp_path: Path
) -> None:
    with Misbehaving(answers("Hello."), certificate=self_signed(tmp_path)) as server:
        survives(events_of(make(server.url)), store, "no safe connection")
        assert server.requests == []


def test_it_survives_an_endpoint_that_takes_no_connection(make: Make, store: SessionStore) -> None:
    with full_backlog() as url:
        events = events_of(make(f"{url}/v1", cloud_connect_seconds=0.3))
    survives(events, store, "too long to connect")


def test_no_place_has_an_answer(make: Make, engine: FakeEngine, store: SessionStore) -> None:
    def fails(_: int) -> None:
        raise UserError("The model is damaged.")

    engine.before_token = fails
    with Misbehaving(status(500)) as server:
        last = events_of(make(server.url), mode="quality")[-1]
    assert isinstance(last, Failed)
    assert last.exit_code == 4
    assert "out of order" in last.message and "the model is damaged" in last.message
    assert (saved(store).status, saved(store).error) == ("failed", last.message)


def test_one_hiccup_is_tried_again_and_changes_nothing(make: Make) -> None:
    with Misbehaving(status(503, Retry_After="0"), answers("A ", "tabby.")) as server:
        assistant = make(server.url, cloud_retries=1)
        assert ask(assistant).text == CLOUD
        assert ask(assistant).text == CLOUD
        assert assistant.cloud_state == "ready"


def test_a_dead_endpoint_slows_no_further_turn_and_one_failure_is_no_death(make: Make) -> None:
    with Misbehaving(status(500)) as server:
        assistant = make(server.url)
        assert ask(assistant).place == "local"
        assert assistant.cloud_state == "failing"
        server.scripts[:] = [answers("A ", "tabby."), status(500)]
        assert ask(assistant).place == "cloud", "the next question is asked as if nothing had been"
        assert assistant.cloud_state == "ready"
        for _ in range(FAILURES - 1):
            ask(assistant)
        assert assistant.cloud_state == "failing", "the answer in between has made up for the first failure"
        ask(assistant)
        sent = len(server.requests)
        assert assistant.cloud_state == "resting"
        answer = ask(assistant)
        assert (answer.place, len(server.requests)) == ("local", sent)
        assert "is left alone for a while" in answer.reason
