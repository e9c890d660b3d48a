"""With --allow-cloud a doubtful answer is asked at the endpoint; without it nothing leaves, whatever was allowed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_app.cloud.consent import ConsentStore
from edge_app.serve import completions
from edge_app.settings import Settings
from tests.edge_app.cloud.misbehaving import Misbehaving, answers, status
from tests.edge_app.fakes import FakeEngine
from tests.edge_app.serve.conftest import Reply, Serve

DOUBTFUL = -5.0


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """Imports the library first, because its import would count in the first test's limits."""
    import openai  # noqa: F401


@pytest.fixture
def endpoint() -> Iterator[Misbehaving]:
    with Misbehaving(answers("A ", "tabby.")) as endpoint:
        yield endpoint


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
    return FakeEngine(logprob=DOUBTFUL, likeliest=0)


def settings(endpoint: Misbehaving) -> Settings:
    return Settings(cloud_url=endpoint.url, cloud_model="big-model", cloud_retries=0)


def text_of(reply: Reply, *, stream: bool) -> str:
    if not stream:
        return str(reply.json["choices"][0]["message"]["content"])
    deltas = [choice["delta"] for event in reply.events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("stream", [False, True])
def test_a_doubtful_answer_is_the_clouds(serve: Serve, endpoint: Misbehaving, stream: bool) -> None:
    reply = serve(settings(endpoint), allow_cloud=True).ask(stream=stream, logprobs=True)
    assert text_of(reply, stream=stream) == "A tabby."
    last = reply.events[-1] if stream else reply.json
    assert last["edge_app"]["place"] == "cloud" and last["edge_app"]["adapter"] is None
    shown = reply.events if stream else [reply.json]
    assert all(choice["logprobs"] is None for each in shown for choice in each["choices"])
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_cloud_fails_the_local_answer_is_the_only_one(
    serve: Serve, endpoint: Misbehaving, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "SILENCE", 0.02)
    endpoint.scripts = [status(500)]
    reply = serve(settings(endpoint), allow_cloud=True).ask(stream=stream)
    assert reply.status == 200 and text_of(reply, stream=stream) == "A cat."
    own = (reply.events[-1] if stream else reply.json)["edge_app"]
    assert own["place"] == "local" and "500" in own["notes"][-1]


def test_without_leave_nothing_leaves_though_the_host_was_always_allowed(
    serve: Serve, endpoint: Misbehaving
) -> None:
    decisions = ConsentStore.open()
    decisions.decide("127.0.0.1", "always", None)
    decisions.close()
    for mode in ("auto", "quality"):
        chosen = settings(endpoint).model_copy(update={"mode": mode})
        reply = serve(chosen).ask()
        assert (reply.json["edge_app"]["place"], text_of(reply, stream=False)) == ("local", "A cat.")
    assert endpoint.requests == []
