"""When a turn goes to the cloud."""

from __future__ import annotations

import json

import pytest

from edge_app.cloud.endpoint import Endpoint
from edge_app.events import (
    Answered,
    CloudFailed,
    Escalated,
    Routed,
    TokenText,
    TurnSaved,
)
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from router.confidence.rule import BLIND, FEATURES, FORMAT, NO_ADAPTER
from router.place_policy import Mode
from tests.edge_app.cloud.misbehaving import (
    STREAM,
    Misbehaving,
    end,
    status,
    word,
)
from tests.edge_app.cloud_turns.support import (
    CLOUD,
    LOCAL,
    SURE,
    FakeUser,
    Make,
    after_escalation,
    ask,
    events_of,
    final,
    saved,
    sent_sizes,
    text_of,
)
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine


def test_a_doubtful_answer_is_asked_for_again_and_kept(
    make: Make, server: Misbehaving, store: SessionStore
) -> None:
    events = events_of(make(server.url), images=(png(),))
    (escalated,) = [event for event in events if isinstance(event, Escalated)]
    answer = final(events)
    assert text_of(events) == LOCAL + CLOUD
    assert text_of(after_escalation(events)) == CLOUD
    assert (answer.text, answer.place, answer.kept, answer.model) == (CLOUD, "cloud", LOCAL, "big-model")
    assert escalated.probability is not None and escalated.threshold is not None
    assert (
        answer.reason
        == escalated.reason
        == (f"local server: local confidence {escalated.probability:.2f} below {escalated.threshold:.2f}")
    )
    assert answer.reason_kind == escalated.reason_kind == "confidence_below"
    assert (answer.tokens.prompt, answer.tokens.completion, answer.adapter) == (11, 3, None)
    assert 0 < answer.timings.first_token < answer.timings.total  # type: ignore[operator]
    assert (saved(store).result, saved(store).status) == (answer, "complete")


def test_an_endpoint_that_is_not_here_is_called_the_cloud(
    make: Make, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    assert ask(make(server.url)).reason.startswith("cloud: local confidence 0.")


def test_a_sure_answer_stays_here(make: Make, server: Misbehaving, engine: FakeEngine) -> None:
    engine.logprob = SURE
    answer = ask(make(server.url))
    assert (answer.text, answer.place, answer.kept, answer.offer) == (LOCAL, "local", None, None)
    assert answer.confidence is not None
    assert answer.reason.startswith(f"local: no adapter is installed; confidence {answer.confidence:.2f}, 0.")
    assert server.requests == []


@pytest.mark.parametrize("mode", ["eco", "fast"])
def test_these_modes_keep_an_answer_of_middling_confidence(
    make: Make, server: Misbehaving, engine: FakeEngine, mode: Mode
) -> None:
    engine.logprob = -0.5
    answer = ask(make(server.url), mode=mode)
    assert (answer.text, answer.place, answer.mode) == (LOCAL, "local", mode)
    assert (
        answer.reason.startswith(f"local: mode {mode}")
        or "mode eco asks the local server only when" in answer.reason
    )
    assert server.requests == []


def test_eco_asks_the_cloud_only_on_demand_and_offers_it(make: Make, server: Misbehaving) -> None:
    assistant = make(server.url, FakeUser())
    answer = ask(assistant, mode="eco", allow_cloud=False)
    assert (answer.text, answer.offer, server.requests) == (LOCAL, "ask_cloud", [])
    assert "mode eco asks the local server only when told to" in answer.reason


def test_quality_asks_the_cloud_first_and_nothing_here(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    events = events_of(make(server.url), mode="quality")
    answer = final(events)
    assert [type(event) for event in events] == [
        *(TurnSaved, Routed, Escalated, TokenText, TokenText, Answered)
    ]
    assert (answer.text, answer.place, answer.kept) == (CLOUD, "cloud", None)
    assert answer.reason.startswith("local server: mode quality: 0.90 expected of the local server")
    assert engine.calls == []


def test_quality_answers_here_when_the_cloud_cannot_and_says_why(make: Make, store: SessionStore) -> None:
    with Misbehaving(status(503)) as server:
        events = events_of(make(server.url), mode="quality")
    answer = final(events)
    assert (answer.text, answer.place) == (LOCAL, "local")
    assert "mode quality, but the local server at" in answer.reason
    assert "is out of order (status 503)" in answer.reason
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert failed.kept is None
    assert saved(store).result == answer
    assert answer.reason_kind.startswith("confidence_")


def test_without_an_endpoint_nothing_is_said_of_clouds_unless_one_was_asked_for(make: Make) -> None:
    assistant = make(None)
    for mode in ("auto", "fast", "eco"):
        assert "cloud" not in ask(assistant, mode=mode, allow_cloud=False).reason
    assert "no cloud is set up" in ask(assistant, allow_cloud=True).reason
    assert "mode quality, but no cloud is set up" in ask(assistant, mode="quality").reason


def test_half_an_endpoint_costs_no_answer(make: Make) -> None:
    answer = ask(make(None, cloud_url="https://api.example.com/v1"))
    assert (answer.text, answer.place) == (LOCAL, "local")
    assert "cloud_model is missing" in answer.reason


def test_eco_has_smaller_budgets_and_so_has_auto_on_battery(
    make: Make, engine: FakeEngine, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app.system.battery import Battery
    from edge_app.turns import planner as module

    made = make(server.url, eco_max_tokens=40, eco_image_size=64)
    ask(made, mode="eco")
    assert engine.calls[-1].sampling.max_tokens == 40
    ask(made, mode="fast")
    assert engine.calls[-1].sampling.max_tokens == 512
    monkeypatch.setattr(module, "battery", lambda: Battery(50, plugged=False))
    answer = ask(made, images=(png(size=(400, 300)),))
    assert engine.calls[-1].sampling.max_tokens == 40
    assert server.requests[-1].fields()["max_tokens"] == 40
    assert sent_sizes(server) == [(64, 48)]
    assert answer.place == "cloud"
    engine.logprob = SURE
    assert "on battery" in ask(made).reason


def judge_plain_answers_by_their_tokens() -> None:
    """What `edge-app eval confidence` leaves when it has data of plain answers: only for such, an answer is given
    up early."""
    weights = [0.0] * len(FEATURES)
    own = {
        "generation": FakeEngine.generation,
        "intercept": 0.0,
        "weights": weights,
        "rows": 500,
        "right": 300,
    }
    content = {"format": FORMAT, "features": list(FEATURES), "adapters": {NO_ADAPTER + BLIND: own}}
    paths.ensure(paths.data_directory())
    paths.confidence_file().write_text(json.dumps(content))


def test_a_hopeless_answer_is_not_waited_for(
    make: Make, server: Misbehaving, engine: FakeEngine, store: SessionStore
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = ("word ",) * 400
    events = events_of(make(server.url))
    answer = final(events)
    assert answer.text == CLOUD
    assert answer.kept is not None and 0 < answer.kept.count("word") < 100
    assert saved(store).kept == answer.kept


def test_what_was_given_up_goes_on_when_the_cloud_fails(
    make: Make, engine: FakeEngine, store: SessionStore
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = tuple(f"{number} " for number in range(100))
    with Misbehaving(status(500)) as server:
        events = events_of(make(server.url))
    answer = final(events)
    assert answer.text == text_of(events) == "".join(engine.words)
    assert (answer.place, answer.stop_reason) == ("local", "stop")
    assert "out of order" in answer.reason
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert failed.kept and answer.text.startswith(failed.kept) and failed.kept != answer.text
    assert saved(store).result == answer
    assert len(engine.calls) == 1, "it went on, it did not begin again"


def test_nothing_is_given_up_before_the_user_has_allowed_anything(
    make: Make, server: Misbehaving, engine: FakeEngine
) -> None:
    judge_plain_answers_by_their_tokens()
    engine.words = ("word ",) * 100
    user = FakeUser("no")
    answer = ask(make(server.url, user), allow_cloud=False)
    assert answer.text.count("word") == 100
    assert len(user.asked) == 1


def test_the_end_of_a_long_answer_is_told(make: Make) -> None:
    with Misbehaving(lambda wire: wire.send(STREAM, word("A ta"), end(reason="length"))) as server:
        assert ask(make(server.url)).stop_reason == "length"
