"""A turn whose answer has to fit a schema: what the engine is asked, and what the answer carries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from adapters.store.manifest import (
    MANIFEST_FILE,
    REQUIRED_FILES,
    WEIGHTS_FILE,
    AdapterManifest,
    Example,
    write_manifest,
)
from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Answered, Failed, Turn
from edge_app.schemas.answer_schema import schema_of_fields
from edge_app.schemas.fields import FieldValue, parse_fields
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from models.core.errors import UserError
from models.core.types import Sampling
from router.confidence.rule import Confidence, ConfidenceEstimate
from tests.adapters.folders import put
from tests.edge_app.fakes import FakeEngine, FakeRouter

FIELDS = schema_of_fields(parse_fields("animal, legs:integer"))
CAT = ('{"animal": ', '"cat"', ', "legs": ', "4", "}")


def assistant(
    store: SessionStore | None, words: tuple[str, ...], adapter: str | None = None
) -> tuple[Assistant, FakeEngine]:
    engine = FakeEngine(words=words)
    return Assistant(Settings(), store, engine.load, router=FakeRouter(adapter)), engine


def ask(made: Assistant, turn: Turn) -> Answer:
    with made:
        *_, last = made.answer(turn)
    assert isinstance(last, Answered), last
    return last.answer


def test_the_engine_decodes_within_the_grammar_of_the_schema(store: SessionStore) -> None:
    made, engine = assistant(store, CAT)
    answer = ask(made, Turn("Describe a cat.", schema=FIELDS))
    assert engine.calls[-1].grammar == FIELDS.grammar
    assert (
        engine.calls[-1]
        .messages[-1]
        .text.startswith("Describe a cat.\nAnswer with a JSON object: animal (text)")
    )
    assert json.loads(answer.text) == {"animal": "cat", "legs": 4}
    assert [(value.name, value.value, value.logprob) for value in answer.fields] == [
        ("animal", "cat", -0.5),
        ("legs", 4, -0.5),
    ]
    assert all(0 < (value.confidence or 0) < 1 and not value.calibrated for value in answer.fields)
    assert answer.confidence == min(value.confidence for value in answer.fields if value.confidence)
    assert not answer.calibrated
    assert answer.as_json()["fields"][0]["name"] == "animal"
    saved = store.get(store.latest()).turns[-1]
    assert saved.question == "Describe a cat."
    assert saved.result == answer


def test_a_schema_without_a_question_asks_for_its_fields() -> None:
    made, engine = assistant(None, CAT)
    ask(made, Turn("", schema=FIELDS))
    assert engine.calls[-1].messages[-1].text.startswith("What are the animal and legs?\n")


def test_an_answer_without_values_is_a_decline() -> None:
    made, _ = assistant(None, ('{"animal": null', ', "legs": null}'))
    answer = ask(made, Turn("Describe it.", schema=FIELDS))
    assert (answer.declined, answer.confidence) == (True, None)
    assert [value.value for value in answer.fields] == [None, None]


def test_a_value_that_reads_like_a_decline_is_a_value() -> None:
    made, _ = assistant(None, ('{"animal": "I cannot tell that."', ', "legs": null}'))
    assert not ask(made, Turn("Describe it.", schema=FIELDS)).declined


def test_an_adapter_is_asked_for_each_field(home: Path, folder: Path) -> None:
    del folder
    put(home / "data" / "adapters", "medical", 1)
    made, engine = assistant(None, ("12 ", "cells"), "medical")
    answer = ask(
        made,
        Turn("", images=(Path("cat.png"),), schema=schema_of_fields(parse_fields("kind, count:integer"))),
    )
    assert [call.messages[-1].text for call in engine.calls] == ["What is the kind?", "What is the count?"]
    assert [call.grammar for call in engine.calls] == [None, None]
    assert answer.text == '{"kind": "12 cells", "count": null}'
    assert [(value.value, value.confidence is None) for value in answer.fields] == [
        ("12 cells", False),
        (None, True),
    ]


def test_an_image_that_is_missing_is_said_where_no_value_can_be_empty(store: SessionStore) -> None:
    made, engine = assistant(store, CAT)
    strict = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
    with made:
        (failed,) = list(made.answer(Turn("What is in this photo?", schema=strict)))
    assert isinstance(failed, Failed) and failed.message.startswith("No image is attached.")
    made, engine = assistant(store, CAT)
    answer = ask(made, Turn("What is in this photo?", schema=FIELDS))
    assert (answer.text, answer.declined, engine.calls) == ('{"animal": null, "legs": null}', True, [])
    assert answer.fields == (FieldValue("animal", None), FieldValue("legs", None))


def test_a_page_with_nothing_on_it_has_empty_values(home: Path, folder: Path) -> None:
    del home
    for name, size in (("page.png", (90, 120)), ("dot.png", (1, 1))):
        PillowImage.new("RGB", size, "white").save(folder / name)
        made, engine = assistant(None, CAT)
        answer = ask(made, Turn("", images=(folder / name,), schema=FIELDS))
        assert (answer.text, answer.declined, engine.calls) == ('{"animal": null, "legs": null}', True, [])
        assert answer.reason_kind == "blank_image"
    made, engine = assistant(None, CAT)
    with made:
        list(made.answer(Turn("What is this?", images=(folder / "dot.png",))))
        list(made.answer(Turn("Anna is four.", schema=FIELDS)))
    assert len(engine.calls) == 2, "a question without a new image is the model's"
    page = PillowImage.new("RGB", (90, 120), "white")
    page.putpixel((45, 61), (250, 250, 250))
    page.save(folder / "page.png")
    made, engine = assistant(None, CAT)
    assert ask(made, Turn("", images=(folder / "page.png",), schema=FIELDS)).text == "".join(CAT)
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (Turn("Hi", schema={"not": {}}), "`not` is not supported"),
        (Turn("Hi", schema=FIELDS, sampling=Sampling(stop=("}",))), "stop sequence"),
        (Turn(" "), "empty"),
    ],
)
def test_a_turn_that_cannot_fit_is_refused_before_anything_runs(turn: Turn, said: str) -> None:
    made, engine = assistant(None, CAT)
    with made:
        (failed,) = list(made.answer(turn))
    assert isinstance(failed, Failed) and said in failed.message
    assert (failed.exit_code, engine.threads) == (1, set())


def test_python_asks_with_a_schema() -> None:
    made, _ = assistant(None, CAT)
    with made:
        assert json.loads(made.ask("A cat?", schema=FIELDS.content).text)["legs"] == 4
        with pytest.raises(UserError, match="`if`"):
            made.ask("A cat?", schema={"if": {"type": "string"}})


@pytest.fixture
def two_adapters(home: Path, folder: Path) -> Path:
    """A folder of adapters: receipts, whose only task is the total, and pages, which is for any page of text."""
    del folder
    directory = home / "data" / "adapters"
    for seed, name in enumerate(("receipts", "pages")):
        put(directory, name, seed)
        manifest = AdapterManifest(
            name,
            "1.0",
            "A test.",
            "edge-vlm-135m",
            "",
            tasks=("total", "contact"),
            examples=(
                Example("What is the phone?", task="contact")
                if name == "pages"
                else Example("What is the total?", task="total"),
            ),
            files=dict.fromkeys(REQUIRED_FILES, "0" * 64),
            any_page=name == "pages",
        )
        (directory / name / MANIFEST_FILE).write_bytes(write_manifest(manifest))
    return directory


def asked_of(engine: FakeEngine) -> list[tuple[str, str]]:
    return [(call.adapter.name if call.adapter else "", call.messages[-1].text) for call in engine.calls]


RECEIPT = Turn(
    "",
    images=(Path("cat.png"),),
    schema=schema_of_fields(parse_fields("total, phone, colour")),
)


def test_a_field_that_is_no_task_of_the_routed_adapter_is_asked_of_one_for_any_page(
    two_adapters: Path,
) -> None:
    del two_adapters
    made, engine = assistant(None, ("12",), "receipts")
    with made:
        *_, last = made.answer(RECEIPT)
        residents = [each for pool in made._pool.residents().values() for each in pool.bank.residents()]
    assert isinstance(last, Answered), last
    assert asked_of(engine) == [
        ("receipts", "What is the total?"),
        ("receipts", "What is the colour?"),
        ("pages", "What is the phone?"),
    ]
    assert last.answer.text == '{"total": "12", "phone": "12", "colour": "12"}'
    assert last.answer.adapter == "receipts"
    assert [value.name for value in last.answer.fields] == ["total", "phone", "colour"]
    assert {each.spec: each.leases for each in residents} == {"receipts": 0, "pages": 0}


@pytest.mark.parametrize("damaged", [False, True])
def test_an_adapter_that_was_named_or_is_alone_is_asked_for_all_fields(
    two_adapters: Path, damaged: bool
) -> None:
    if damaged:
        (two_adapters / "pages" / WEIGHTS_FILE).write_bytes(b"")
    made, engine = assistant(None, ("12",), "receipts")
    answer = ask(made, replace(RECEIPT, adapter="auto" if damaged else "receipts"))
    assert [name for name, _ in asked_of(engine)] == ["receipts"] * 3
    assert answer.text == '{"total": "12", "phone": "12", "colour": "12"}'


def test_a_value_is_calibrated_only_where_the_adapter_has_such_a_task(
    two_adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del two_adapters
    monkeypatch.setattr(Confidence, "judge", lambda *_: ConfidenceEstimate(0.5, fitted=True))
    made, _ = assistant(None, ("12",), "receipts")
    answer = ask(made, replace(RECEIPT, adapter="receipts"))
    assert [value.calibrated for value in answer.fields] == [True, False, False]
