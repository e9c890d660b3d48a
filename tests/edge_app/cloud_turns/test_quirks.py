"""Turns at endpoints as they are: they think, load their model, refuse images, or are asked what is too long here."""

from __future__ import annotations

import threading

import pytest

from edge_app.cloud import dispatch
from edge_app.cloud.dispatch import Backoff
from edge_app.events import CloudFailed, Escalated, Failed, Progress, ThinkingText
from edge_app.storage.sessions import SessionStore
from models.core.errors import QuestionTooLongError
from models.core.types import Sampling
from router.types import Mode
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, answers, end, event, status, word
from tests.edge_app.cloud_turns.support import (
    CLOUD,
    LOCAL,
    FakeUser,
    Make,
    ask,
    events_of,
    final,
    saved,
    text_of,
)
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine

NO_IMAGES = status(404, {"error": {"message": "No endpoints found that support image input"}})
LOADING = status(503, {"error": {"message": "Loading model", "type": "unavailable_error"}})


def test_what_the_model_thinks_is_told_and_not_saved(make: Make, store: SessionStore) -> None:
    def thinks(wire: object) -> None:
        delta = {"choices": [{"index": 0, "delta": {"reasoning_content": "A cat?"}}]}
        wire.send(STREAM, event(delta), word("<think>Hm.</think>"), word(CLOUD), end())  # type: ignore[attr-defined]

    with Misbehaving(thinks) as server:
        events = events_of(make(server.url), mode="quality")
        assert [each.text for each in events if isinstance(each, ThinkingText)] == ["A cat?", "Hm."]
        assert (text_of(events), final(events).text, saved(store).answer) == (CLOUD, CLOUD, CLOUD)
        ask(make(server.url), "And now?", session=saved(store) and store.latest(), mode="quality")
        assert "Hm." not in server.requests[-1].body.decode()


# -- loading


class Hurried(threading.Event):
    """Does not wait."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.0 if timeout is not None and timeout > 0.5 else timeout)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_app.turns.turn_jobs.threading.Event", Hurried)


@pytest.mark.usefixtures("hurried")
def test_an_endpoint_that_loads_its_model_is_waited_for(make: Make) -> None:
    with Misbehaving(LOADING, LOADING, LOADING, answers(CLOUD)) as server:
        events = events_of(make(server.url, cloud_total_seconds=120), mode="quality")
        assert (final(events).text, len(server.requests)) == (CLOUD, 4)
    waits = [each for each in events if isinstance(each, Progress) and each.stage == "wait"]
    assert [(each.message.endswith("loads its model"), each.total) for each in waits] == [(True, 60)] * 3


@pytest.mark.usefixtures("hurried")
def test_it_is_waited_for_within_the_total_limit(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "LOADING_SHARE", 0.01)
    with Misbehaving(LOADING) as server:
        events = events_of(make(server.url, cloud_total_seconds=30), mode="quality")
    (failed,) = [each for each in events if isinstance(each, CloudFailed)]
    assert "still loads its model" in failed.message and "Loading model" in failed.message
    assert (final(events).text, final(events).place) == (LOCAL, "local")


def test_a_stop_ends_the_wait(make: Make) -> None:
    with Misbehaving(LOADING) as server:
        assistant = make(server.url)
        events = []
        for each in assistant.answer(turn_of_quality()):
            events.append(each)
            if isinstance(each, Progress) and each.stage == "wait":
                assistant.cancel()
        assert (final(events).stop_reason, len(server.requests)) == ("cancelled", 1)


def turn_of_quality() -> object:
    from edge_app.assistant import Turn

    return Turn("What is this?", mode="quality", allow_cloud=True)


# -- images


def test_an_endpoint_without_images_is_asked_without_them_if_the_user_agrees(
    make: Make, store: SessionStore
) -> None:
    user = FakeUser("once")
    with Misbehaving(NO_IMAGES, answers(CLOUD)) as server:
        events = events_of(make(server.url, user), images=(png(),), mode="quality")
        first, second = server.requests
    (proposal,) = user.asked
    assert "support image input" in proposal.reason and "without images" in proposal.reason
    assert (proposal.payload.images, second.body) == ((), proposal.payload.body)
    assert b"image_url" in first.body and b"image_url" not in second.body
    answer = final(events)
    assert (answer.text, answer.place, answer.reason_kind) == (CLOUD, "cloud", "without_images")
    assert answer.reason.endswith("without the images, which it did not take")
    assert answer.reason == [each for each in events if isinstance(each, Escalated)][-1].reason
    assert saved(store).answer == CLOUD


@pytest.mark.parametrize("user", [None, FakeUser("no")])
def test_else_the_local_answer_says_what_the_endpoint_said(make: Make, user: FakeUser | None) -> None:
    with Misbehaving(NO_IMAGES, answers(CLOUD)) as server:
        answer = ask(make(server.url, user), images=(png(),))
        assert len(server.requests) == 1
    assert (answer.text, answer.place, answer.reason_kind) == (LOCAL, "local", "cloud_failed")
    assert "No endpoints found that support image input" in answer.reason


def test_without_images_in_the_question_nobody_is_asked(make: Make) -> None:
    user = FakeUser("once")
    with Misbehaving(NO_IMAGES) as server:
        assert ask(make(server.url, user)).text == LOCAL
        assert (len(server.requests), user.asked) == (1, [])


# -- a refused field


def test_a_refused_field_is_renamed_once_and_for_all(make: Make) -> None:
    refused = status(
        400,
        {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}},
    )
    with Misbehaving(refused, answers(CLOUD)) as server:
        assert ask(make(server.url), mode="quality").text == CLOUD
        assert ask(make(server.url), mode="quality").text == CLOUD, "another assistant"
        fields = [request.fields() for request in server.requests]
    assert ["max_completion_tokens" in each for each in fields] == [False, True, True]
    assert ["max_tokens" in each for each in fields] == [True, False, False]


def test_a_field_that_is_refused_under_both_names_is_asked_twice(make: Make) -> None:
    refused = status(400, {"error": {"message": "unsupported: max_tokens, max_completion_tokens"}})
    with Misbehaving(refused) as server:
        answer = ask(make(server.url), mode="quality")
        assert (answer.text, len(server.requests)) == (LOCAL, 2)


def test_a_refused_temperature_is_left_out_once_and_for_all(make: Make) -> None:
    said = "Unsupported value: 'temperature' does not support 0.5 with this model."
    refused = status(400, {"error": {"message": said, "param": "temperature", "code": "unsupported_value"}})
    sampling = Sampling(temperature=0.5, seed=3)
    with Misbehaving(refused, answers(CLOUD)) as server:
        for _ in range(2):
            assert ask(make(server.url), mode="quality", sampling=sampling).text == CLOUD
        fields = [request.fields() for request in server.requests]
    assert ["temperature" in each for each in fields] == [True, False, False]
    assert [each["seed"] for each in fields] == [3, 3, 3]


def test_pauses_of_a_loading_endpoint_are_no_retries() -> None:
    assert "loading" not in dispatch.PASSING and Backoff().retries == 2


# -- a question that is too long for this device


@pytest.fixture
def short(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(*_: object, **__: object) -> None:
        raise QuestionTooLongError("The question is too long.")

    monkeypatch.setattr(engine, "generate", generate)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("mode", ["auto", "quality"])
def test_it_goes_to_the_cloud_that_is_allowed(make: Make, store: SessionStore, mode: Mode) -> None:
    with Misbehaving(answers(CLOUD)) as server:
        answer = ask(make(server.url), mode=mode)
    assert (answer.text, answer.place, answer.kept) == (CLOUD, "cloud", None)
    assert (saved(store).answer, saved(store).status, saved(store).error) == (CLOUD, "complete", None)
    if mode == "auto":
        assert answer.reason.endswith("the question is longer than this device reads at once")
        assert answer.reason_kind == "question_too_long"


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"allow_cloud": False}, "needs --allow-cloud."),
        ({"mode": "eco"}, "only when told to."),
        ({"mode": "fast"}, "only when told to."),
    ],
)
def test_where_it_may_not_go_the_failure_says_why(make: Make, turn: dict[str, object], says: str) -> None:
    with Misbehaving(answers(CLOUD)) as server:
        (*_, failed) = events_of(make(server.url), **turn)
        assert server.requests == []
    assert isinstance(failed, Failed) and failed.exit_code == 1
    assert failed.message.startswith("The question is too long. ") and failed.message.endswith(says)


@pytest.mark.usefixtures("short")
def test_when_the_cloud_fails_too_both_are_told(make: Make, store: SessionStore) -> None:
    with Misbehaving(status(500)) as server:
        (*_, failed) = events_of(make(server.url))
    assert isinstance(failed, Failed) and failed.exit_code == 4
    assert "status 500" in failed.message and "the question is too long" in failed.message
    assert saved(store).status == "failed"


@pytest.mark.usefixtures("short")
def test_without_a_cloud_it_is_a_failure_as_before(make: Make) -> None:
    (*_, failed) = events_of(make(None), allow_cloud=False)
    assert isinstance(failed, Failed) and failed.message == "The question is too long."
