"""The chosen model answers where no adapter does, and an adapter answers on the model that it was trained for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge_app.assistant import Assistant
from edge_app.costs.averages import CostAverages
from edge_app.events import Answered, Event, Failed, ImageEncoded, Notice, Routed, Turn
from edge_app.settings import DEFAULT_MODEL, Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.hub.catalog_file import read_catalog
from router.choice import Router
from tests.edge_app.conftest import png
from tests.edge_app.engine.test_engine_pool import Loader, describe_models, put_for
from tests.edge_app.fakes import FakeRouter

Make = Callable[..., Assistant]


@pytest.fixture
def load() -> Loader:
    return Loader()


@pytest.fixture
def make(home: Path, store: SessionStore, load: Loader) -> Iterator[Make]:
    """Makes assistants over two models, of which "general" is chosen, with one adapter for each."""
    del home
    made: list[Assistant] = []
    describe_models({"general": 100, "other": 100})
    put_for("medical", DEFAULT_MODEL)
    put_for("plants", "other")

    def assistant(model: str = "general", router: Router | None = None) -> Assistant:
        made.append(
            Assistant(
                Settings(model=model),
                store,
                load,
                adapters=paths.adapters_directory(),
                router=router or FakeRouter("medical"),
            )
        )
        return made[-1]

    yield assistant
    for each in made:
        each.close()


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded default is on this machine."""
    from edge_app.engine.adapter_bases import AdapterBases

    is_here = AdapterBases.is_here
    monkeypatch.setattr(
        AdapterBases,
        "is_here",
        lambda self, model, general: model == DEFAULT_MODEL or is_here(self, model, general),
    )


def events(assistant: Assistant, turn: Turn) -> list[Event]:
    with closing(assistant.answer(turn)) as stream:
        return list(stream)


def answered(found: list[Event]) -> tuple[str | None, str]:
    """Adapter and model of the answer."""
    assert isinstance(found[-1], Answered), found[-1]
    return found[-1].answer.adapter, found[-1].answer.model


def routed(found: list[Event]) -> list[str | None]:
    return [event.route.model for event in found if isinstance(event, Routed)]


def test_the_settings_default_is_the_catalogs() -> None:
    assert read_catalog().default == DEFAULT_MODEL


@pytest.mark.usefixtures("embedded")
def test_an_adapter_answers_on_its_base_beside_another_general_model(make: Make, load: Loader) -> None:
    found = events(make(), Turn("What is it?", (png(),)))
    assert answered(found) == ("medical", DEFAULT_MODEL)
    assert routed(found) == [DEFAULT_MODEL]
    assert load.names == [DEFAULT_MODEL]  # the general model was not needed
    assert len(load.engines[DEFAULT_MODEL].encoded) == 1


@pytest.mark.usefixtures("embedded")
def test_a_question_without_an_adapter_goes_to_the_general_model(make: Make, load: Loader) -> None:
    found = events(make(router=FakeRouter(None)), Turn("What is it?", (png(),)))
    assert answered(found) == (None, "general")
    assert routed(found) == ["general"]
    assert load.names == [DEFAULT_MODEL, "general"]
    assert load.engines[DEFAULT_MODEL].encoded == []  # it gave features alone
    assert len(load.engines["general"].encoded) == 1
    order = [type(event) for event in found if isinstance(event, Routed | ImageEncoded)]
    assert order == [Routed, ImageEncoded]


@pytest.mark.usefixtures("embedded")
def test_the_router_chooses_over_all_adapters_whose_base_is_here(make: Make) -> None:
    for model in ("general", DEFAULT_MODEL):
        router = FakeRouter("plants")
        found = events(make(model, router), Turn("What is it?"))
        assert answered(found) == ("plants", "other")
        assert [tuple(installed) for _, installed in router.asked] == [("medical", "plants")]


@pytest.mark.usefixtures("embedded")
def test_engines_stay_between_turns(make: Make, load: Loader) -> None:
    assistant = make(router=FakeRouter(None))
    for adapter in ("auto", "medical", "plants", "none", "medical"):
        events(assistant, Turn("What is it?", adapter=adapter))
    assert sorted(load.names) == [DEFAULT_MODEL, "general", "other"]


@pytest.mark.usefixtures("embedded")
def test_images_are_encoded_once_under_an_adapter_that_may_change_how_they_are_seen(
    make: Make, load: Loader
) -> None:
    events(make(router=FakeRouter("plants")), Turn("What is it?", (png(),)))
    assert load.engines["other"].encoded_under == ["plants"]
    events(make(), Turn("What is it?", (png(),), adapter="medical"))
    assert load.engines[DEFAULT_MODEL].encoded_under == [None]


@pytest.mark.usefixtures("embedded")
def test_a_question_about_several_images_is_for_the_general_model_if_that_sees_them(
    make: Make, load: Loader
) -> None:
    describe_models({"general": 100, "other": 100}, images_at_once=4)
    router = FakeRouter("medical")
    assistant = make(router=router)
    two = (png("red"), png("blue"))
    found = events(assistant, Turn("What is the difference between the two images?", two))
    assert answered(found) == (None, "general")
    assert router.asked == []
    assert isinstance(found[-1], Answered)
    assert "adapters look at one" in found[-1].answer.reason
    assert [len(message.images) for message in load.engines["general"].calls[-1].messages] == [2]


@pytest.mark.usefixtures("embedded")
def test_an_adapter_of_a_model_that_sees_one_image_is_shown_one(make: Make, load: Loader) -> None:
    describe_models({"general": 100, "other": 100}, images_at_once=4)
    assistant = make()
    first = events(assistant, Turn("What is it?", (png("red"),)))
    assert isinstance(first[-1], Answered)
    events(assistant, Turn("And what is this?", (png("blue"),), session=first[-1].answer.session))
    shown = [len(message.images) for message in load.engines[DEFAULT_MODEL].calls[-1].messages]
    assert sum(shown) == 1


def test_without_the_embedded_default_the_general_model_answers_alone_and_that_is_said_once(
    make: Make, load: Loader
) -> None:
    router = FakeRouter()
    assistant = make(router=router)
    first, second = (events(assistant, Turn("What is it?")) for _ in range(2))
    assert answered(first) == answered(second) == (None, "general")
    assert [event.message for event in first if isinstance(event, Notice)] == [
        f"Adapters are chosen by the model {DEFAULT_MODEL}, which is not on this machine, so none answers; "
        f"`edge-app models pull {DEFAULT_MODEL}` brings it."
    ]
    third = events(make(), Turn("What is it?"))
    assert not any(isinstance(event, Notice) for event in (*second, *third))
    assert set(load.names) == {"general"}
    assert router.asked == []
    assert isinstance(second[-1], Answered)
    assert second[-1].answer.reason_kind != "no_adapter_installed"


def test_a_named_adapter_without_its_model_is_refused_before_anything_is_loaded(
    make: Make, load: Loader
) -> None:
    found = events(make(), Turn("What is it?", adapter="medical"))
    assert isinstance(found[-1], Failed)
    assert f"edge-app models pull {DEFAULT_MODEL}" in found[-1].message
    assert answered(events(make(), Turn("What is it?", adapter="plants"))) == ("plants", "other")
    assert load.names == ["other"]


@pytest.mark.usefixtures("embedded")
def test_a_model_that_nothing_was_fitted_for_is_not_calibrated(make: Make) -> None:
    found = events(make(router=FakeRouter(None)), Turn("What is it?"))
    assert isinstance(found[-1], Answered)
    assert found[-1].answer.calibrated is False
    assert found[-1].answer.confidence is not None


def test_an_unknown_model_is_refused_with_the_names_that_there_are(make: Make, load: Loader) -> None:
    for found in (events(make("nope"), Turn("What is it?")), list(make("nope").route(Turn("What is it?")))):
        assert isinstance(found[-1], Failed)
        assert "'nope'" in found[-1].message
        assert "general" in found[-1].message
    assert load.names == []


def test_costs_are_averaged_by_model(make: Make, store: SessionStore) -> None:
    del store
    with closing(make(router=FakeRouter(None))) as assistant:
        events(assistant, Turn("What is it?", adapter="none"))
    costs = CostAverages(Settings(), learns=False)
    with closing(costs):
        assert costs.of("local", None, "general") != costs.of("local", None)
        assert costs.of("local", None, "other") == costs.of("local", None)


def test_the_answer_says_its_model_as_json(make: Make) -> None:
    found = events(make(), Turn("What is it?", adapter="plants"))
    assert isinstance(found[-1], Answered)
    assert json.loads(json.dumps(found[-1].answer.as_json()))["model"] == "other"
