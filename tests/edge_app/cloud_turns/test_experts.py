"""An endpoint that lists a model named like the adapter is asked for that model, and for no list without consent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_app.cloud.protocol.model_list import ModelListStore
from edge_app.storage.sessions import SessionStore
from edge_app.turns import runner
from models.core.types import Progress
from tests.adapters.making import write_adapter
from tests.edge_app.cloud.misbehaving import Misbehaving, Script, Wire, answers, status
from tests.edge_app.cloud_turns.support import CLOUD, LOCAL, FakeUser, Make, ask
from tests.edge_app.fakes import FakeEngine, FakeRouter


def listing(*names: str) -> Script:
    return status(200, {"object": "list", "data": [{"id": name} for name in names]})


def paths_of(server: Misbehaving) -> list[str]:
    return [request.path for request in server.requests]


def models_of(server: Misbehaving) -> list[str]:
    return [request.fields()["model"] for request in server.requests if request.body]


LIST, QUESTION = "/v1/models", "/v1/chat/completions"


@pytest.fixture(autouse=True)
def plants(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed adapter that is asked for by name. What it does to the fake engine does not matter."""
    from adapters.bank import AdapterBank, Lease
    from adapters.store.manifest import PromptPolicy
    from edge_app.engine.adapter_bases import AdapterBases

    write_adapter(home / "data" / "adapters" / "plants", base_model="edge-vlm-135m")
    monkeypatch.setattr(AdapterBank, "acquire", lambda *_: Lease(None, PromptPolicy(), lambda: None))
    monkeypatch.setattr(AdapterBank, "prefetch", lambda *_: None)
    monkeypatch.setattr(AdapterBases, "of", lambda *given: given[-1])


def test_the_expert_goes_along_when_a_question_leaves(make: Make) -> None:
    with Misbehaving(listing("big-model", "plants"), answers(CLOUD)) as server:
        answer = ask(make(server.url), adapter="plants")
        again = ask(make(server.url), adapter="plants", mode="quality")
        assert paths_of(server) == [LIST, QUESTION, QUESTION], "the list is remembered"
        assert models_of(server) == ["plants", "plants"]
    assert (answer.text, answer.model, answer.kept) == (CLOUD, "plants", LOCAL)
    assert answer.reason.endswith("; asked for its model plants")
    assert (answer.reason_kind, again.reason_kind) == ("confidence_below", "mode_prefers_cloud")


def test_without_a_model_of_that_name_the_usual_one_is_asked(make: Make) -> None:
    with Misbehaving(listing("big-model", "Plants", "my-plants"), answers(CLOUD)) as server:
        assert ask(make(server.url), adapter="plants").model == "big-model"
        assert models_of(server) == ["big-model"]


@pytest.mark.parametrize(
    "lists",
    [
        status(404),
        status(200, b"<html>"),
        status(200, {"data": 5}),
        status(200, b"[" * 5000),
        status(200, {"data": [{"id": 5}, 5]}),
        status(302, Location="https://evil.example/"),
        lambda wire: wire.send(b"SSH-2.0\r\n"),
    ],
)
def test_an_endpoint_without_a_list_is_asked_as_usual(make: Make, lists: Script) -> None:
    with Misbehaving(lists, answers(CLOUD)) as server:
        answer = ask(make(server.url), adapter="plants")
        assert (answer.text, answer.model) == (CLOUD, "big-model")


def test_no_adapter_asks_for_no_list(make: Make) -> None:
    with Misbehaving(answers(CLOUD)) as server:
        ask(make(server.url), adapter="none")
        assert paths_of(server) == [QUESTION]


def test_without_consent_there_is_no_list_and_after_it_the_user_sees_the_model(make: Make) -> None:
    with Misbehaving(answers(CLOUD), listing("plants"), answers(CLOUD)) as server:
        refusing = FakeUser("no")
        ask(make(server.url, refusing), adapter="plants", allow_cloud=False)
        assert server.requests == []
        user = FakeUser("once")
        ask(make(server.url, user), adapter="plants", allow_cloud=False)
        assert paths_of(server) == [QUESTION, LIST], "for the next question"
        ask(make(server.url, user), adapter="plants", allow_cloud=False)
        assert [proposal.payload.endpoint.model for proposal in user.asked] == ["big-model", "plants"]
        assert server.requests[-1].body == user.asked[-1].payload.body


def test_a_model_that_is_gone_is_forgotten(make: Make) -> None:
    def gone(wire: Wire) -> None:
        status(404, {"error": {"message": "model plants not found"}})(wire)

    with Misbehaving(listing("plants"), gone, listing("big-model"), answers(CLOUD)) as server:
        assert ask(make(server.url), adapter="plants").text == LOCAL
        assert ask(make(server.url), adapter="plants").model == "big-model"


def test_a_request_for_the_list_is_in_the_ledger(make: Make, store: SessionStore) -> None:
    from edge_app.cloud.ledger import Ledger
    from edge_app.settings import Settings

    assert store is not None
    with Misbehaving(listing("plants"), answers(CLOUD)) as server:
        ask(make(server.url), adapter="plants")
    ledger = Ledger.open(Settings())
    assert [(entry.model, entry.bytes > 0) for entry in reversed(ledger.entries())] == [
        ("big-model", False),
        ("plants", True),
    ]
    ledger.close()


def test_a_daily_limit_without_a_price_keeps_the_usual_model(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_app.cloud.endpoint import Endpoint

    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    prices = {"big-model": {"input": 1.0, "output": 1.0}}
    with Misbehaving(answers(CLOUD)) as server:
        assistant = make(server.url, cloud_daily_limit=10.0, cloud_prices=prices)
        assert ask(assistant, adapter="plants", mode="quality").model == "big-model"


def test_lists_are_kept_by_host(home: Path) -> None:
    store = ModelListStore.open()
    assert store.known("a.example") is None
    store.learn("a.example", frozenset({"x", "y"}))
    assert store.known("a.example") == (frozenset({"x", "y"}), True)
    store.forget("a.example")
    assert store.known("a.example") is None
    store.close()
    assert home.exists()


# -- the endpoint is asked first, so the router chooses before the question leaves


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router may choose the adapter, whose base is the fake engine's."""
    from edge_app.engine.adapter_bases import AdapterBases

    monkeypatch.setattr(AdapterBases, "is_here", lambda *_: True)
    monkeypatch.setattr(AdapterBases, "usable", lambda _, names, __: tuple(names))


@pytest.mark.usefixtures("routed")
@pytest.mark.parametrize(("chosen", "model"), [("plants", "plants"), (None, "big-model")])
def test_the_routers_choice_goes_along_in_quality(make: Make, chosen: str | None, model: str) -> None:
    router = FakeRouter(chosen)
    with Misbehaving(listing("big-model", "plants"), answers(CLOUD)) as server:
        answer = ask(make(server.url, router=router), mode="quality")
        assert models_of(server) == [model]
    assert (answer.text, answer.place, answer.model, len(router.asked)) == (CLOUD, "cloud", model, 1)
    assert answer.reason.endswith("; asked for its model plants") is (chosen is not None)


@pytest.mark.usefixtures("routed")
def test_an_endpoint_without_such_a_model_does_not_wait_for_the_router(make: Make) -> None:
    router = FakeRouter("plants")
    with Misbehaving(listing("big-model", "medical"), answers(CLOUD)) as server:
        assert ask(make(server.url, router=router), mode="quality").model == "big-model"
    assert router.asked == []


@pytest.mark.usefixtures("routed")
def test_a_router_that_fails_does_not_stop_the_clouds_answer(
    make: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("the weights are damaged")

    monkeypatch.setattr(engine, "loading", broken)
    with Misbehaving(listing("plants"), answers(CLOUD)) as server:
        answer = ask(make(server.url, router=FakeRouter("plants")), mode="quality")
    assert (answer.text, answer.model) == (CLOUD, "big-model")


@pytest.mark.usefixtures("routed")
def test_a_router_that_takes_too_long_is_not_awaited(
    make: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_cancelled(progress: Progress) -> None:
        while True:
            progress("load", "Loading", 0, None)
            time.sleep(0.01)

    monkeypatch.setattr(engine, "loading", until_cancelled)
    monkeypatch.setattr(runner, "ROUTER_SECONDS", 0.05)
    with Misbehaving(listing("plants"), answers(CLOUD)) as server:
        answer = ask(make(server.url, router=FakeRouter("plants")), mode="quality")
    assert (answer.text, answer.model) == (CLOUD, "big-model")


@pytest.mark.usefixtures("routed")
def test_a_turn_that_is_stopped_while_the_router_chooses_is_not_sent(
    make: Make, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Misbehaving(listing("plants"), answers(CLOUD)) as server:
        assistant = make(server.url, router=FakeRouter("plants"))
        monkeypatch.setattr(engine, "loading", lambda _: assistant.cancel())
        answer = ask(assistant, mode="quality")
        assert paths_of(server) == [LIST]
    assert (answer.text, answer.stop_reason) == ("", "cancelled")


@pytest.mark.usefixtures("routed")
def test_the_user_who_is_asked_sees_the_model_of_the_routers_choice(make: Make) -> None:
    user = FakeUser("once")
    with Misbehaving(answers(CLOUD), listing("plants"), answers(CLOUD)) as server:
        for _ in range(2):
            ask(make(server.url, user, FakeRouter("plants")), mode="quality", allow_cloud=False)
        assert paths_of(server) == [QUESTION, LIST, QUESTION]
    assert [proposal.payload.endpoint.model for proposal in user.asked] == ["big-model", "plants"]
