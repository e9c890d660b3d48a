"""A turn in which this device declines to answer, in each mode."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edge_app.assistant import Turn
from edge_app.events import CloudFailed, Escalated, TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.turns.replies import built_in_replies
from edge_app.turns.replies.built_in_replies import BuiltInReply
from router.place_policy import Mode
from router.types import Reason
from tests.edge_app.cloud.misbehaving import Misbehaving, status
from tests.edge_app.cloud_turns.support import (
    CLOUD,
    SURE,
    FakeUser,
    Make,
    ask,
    events_of,
    final,
    saved,
    text_of,
)
from tests.edge_app.fakes import FakeEngine

DECLINE = "I cannot tell that."


@pytest.fixture
def engine() -> FakeEngine:
    """It declines, and is sure of its words."""
    return FakeEngine(words=("I ", "cannot ", "tell ", "that."), logprob=SURE)


def reply_with(monkeypatch: pytest.MonkeyPatch, reply: BuiltInReply) -> None:
    monkeypatch.setattr(built_in_replies, "CASES", (lambda _: reply,))


def test_a_decline_is_handed_over(make: Make, server: Misbehaving, store: SessionStore) -> None:
    answer = ask(make(server.url))
    assert (answer.text, answer.place, answer.kept, answer.declined) == (CLOUD, "cloud", DECLINE, False)
    assert (answer.reason, answer.reason_kind) == ("local server: this device does not know", "declined")
    assert saved(store).result == answer


def test_the_event_has_no_probability(make: Make, server: Misbehaving) -> None:
    events = events_of(make(server.url))
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    assert escalated.probability is None
    assert escalated.threshold is not None and escalated.reason_kind == "declined"


@pytest.mark.parametrize("mode", ["fast", "eco"])
def test_it_is_not_handed_over_where_the_mode_keeps_answers(
    make: Make, server: Misbehaving, mode: Mode
) -> None:
    answer = ask(make(server.url), mode=mode)
    assert answer.reason_kind == "mode_keeps_decline"
    assert (answer.text, answer.place, answer.declined) == (DECLINE, "local", True)
    assert (answer.confidence, answer.calibrated, answer.offer) == (None, False, "ask_cloud")
    assert not server.requests


def test_it_stays_the_answer_when_the_cloud_fails(make: Make, store: SessionStore) -> None:
    with Misbehaving(status(500)) as server:
        events = events_of(make(server.url))
    assert any(isinstance(event, CloudFailed) for event in events)
    answer = final(events)
    assert (answer.text, answer.declined, answer.confidence) == (DECLINE, True, None)
    assert saved(store).result == answer


def test_it_stays_the_answer_when_the_user_refuses(make: Make, server: Misbehaving) -> None:
    answer = ask(make(server.url, FakeUser("no")), allow_cloud=False)
    assert (answer.text, answer.declined, answer.reason_kind) == (DECLINE, True, "host_declined")
    assert not server.requests


def test_without_a_cloud_it_is_the_answer(make: Make, store: SessionStore) -> None:
    answer = ask(make(None), allow_cloud=False)
    assert (answer.text, answer.declined, answer.confidence, answer.calibrated) == (
        DECLINE,
        True,
        None,
        False,
    )
    assert (answer.reason, answer.reason_kind) == (
        "local: no adapter is installed; this device does not know",
        "declined",
    )
    assert answer.offer == "set_up_cloud"
    assert answer.as_json()["declined"] is True
    assert store.get(store.latest()).turns[-1].result == answer


NO_IMAGE = BuiltInReply("There is no image in this chat.", True, Reason("text", {"text": "no image"}))
LANGUAGE = BuiltInReply("I speak English only.", True, Reason("text", {"text": "no English"}), for_cloud=True)
GREETING = BuiltInReply("Hello.", False, Reason("text", {"text": "a greeting"}))


@pytest.mark.parametrize("mode", ["auto", "fast", "quality", "eco"])
@pytest.mark.parametrize("reply", [NO_IMAGE, GREETING], ids=lambda reply: reply.text)
def test_a_built_in_reply_needs_no_model_and_no_cloud(
    make: Make,
    server: Misbehaving,
    engine: FakeEngine,
    store: SessionStore,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    reply: BuiltInReply,
) -> None:
    reply_with(monkeypatch, reply)
    events = events_of(make(server.url), mode=mode)
    answer = final(events)
    assert text_of(events) == answer.text == reply.text
    assert (answer.declined, answer.confidence, answer.calibrated) == (reply.declined, None, False)
    assert (answer.place, answer.adapter, answer.stop_reason) == ("local", None, "stop")
    assert answer.reason == f"local: {reply.reason.fields['text']}"
    assert answer.evidence is None and answer.offer is None
    assert not server.requests and not engine.threads
    assert (saved(store).result, saved(store).status) == (answer, "complete")


def test_a_built_in_decline_that_the_cloud_may_answer_is_handed_over(
    make: Make, server: Misbehaving, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_with(monkeypatch, LANGUAGE)
    answer = ask(make(server.url))
    assert (answer.text, answer.kept, answer.reason) == (CLOUD, LANGUAGE.text, "local server: no English")
    assert not engine.threads


def test_it_stays_here_in_a_mode_that_does_not_hand_over(
    make: Make, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_with(monkeypatch, LANGUAGE)
    answer = ask(make(server.url), mode="eco")
    assert (answer.text, answer.declined, answer.offer) == (LANGUAGE.text, True, "ask_cloud")
    assert answer.reason == "local: no English; mode eco asks the local server about that only when told to"


def test_closing_a_turn_after_a_built_in_reply_keeps_it(
    make: Make, store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_with(monkeypatch, GREETING)
    events = make(None).answer(Turn("hi"))
    for event in events:
        if isinstance(event, TokenText):
            events.close()
    assert (saved(store).status, saved(store).answer) == ("complete", GREETING.text)


def test_the_first_case_that_applies_replies() -> None:
    cases: Sequence[built_in_replies.Case] = (lambda _: None, lambda _: GREETING, lambda _: LANGUAGE)
    assert built_in_replies.built_in_reply(None, cases) is GREETING  # type: ignore[arg-type]
