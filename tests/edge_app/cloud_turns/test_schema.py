"""A cloud answer that has to fit a schema: what is sent, what is taken, and what is said of one that does not fit."""

from __future__ import annotations

import json

import pytest

from edge_app.events import CloudFailed, TokenText
from edge_app.schemas.answer_schema import parse_schema, schema_of_fields
from edge_app.schemas.fields import FieldValue, parse_fields
from tests.edge_app.cloud.misbehaving import Misbehaving, answers
from tests.edge_app.cloud_turns.support import DOUBTFUL, Make, ask, events_of, final, text_of
from tests.edge_app.fakes import FakeEngine

FIELDS = schema_of_fields(parse_fields("animal, legs:integer"))
LOCAL = '{"animal": "dog", "legs": 4}'


@pytest.fixture
def engine() -> FakeEngine:
    """Doubts its answer, which fits the schema, and would be paused after four tokens without a schema."""
    return FakeEngine(words=('{"animal": ', '"dog"', ", ", '"legs"', ": ", "4", "}"), logprob=DOUBTFUL)


def test_the_schema_is_sent_and_the_answer_is_taken(make: Make) -> None:
    with Misbehaving(answers('{"animal":"ca', 't","legs":4}')) as server:
        answer = ask(make(server.url), schema=FIELDS)
        sent = server.requests[-1].fields()
    form = {"name": "answer", "schema": FIELDS.content, "strict": True}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": form}
    assert sent["messages"][-1]["content"].startswith(
        "What is this?\nAnswer with a JSON object: animal (text)"
    )
    assert (answer.place, answer.text, answer.declined) == ("cloud", '{"animal": "cat", "legs": 4}', False)
    assert answer.fields == (FieldValue("animal", "cat"), FieldValue("legs", 4))
    assert answer.kept == LOCAL


def test_a_turn_without_a_schema_sends_none(make: Make, server: Misbehaving) -> None:
    ask(make(server.url))
    assert "response_format" not in server.requests[-1].fields()


@pytest.mark.parametrize(
    "said",
    [
        '{"animal": 3, "legs": 4}',
        "A cat.",
        '{"animal": "cat", "legs"',
        '{"animal": "cat"}',
        "[[[[",
        '{"legs": NaN}',
    ],
)
def test_an_answer_that_does_not_fit_leaves_the_local_one(make: Make, said: str) -> None:
    with Misbehaving(answers(said)) as server:
        events = events_of(make(server.url), schema=FIELDS)
    (failed,) = [event for event in events if isinstance(event, CloudFailed)]
    assert "does not fit the schema" in failed.message and failed.kept == LOCAL
    answer = final(events)
    assert (answer.place, answer.text, answer.broken) == ("local", LOCAL, said)
    assert [value.value for value in answer.fields] == ["dog", 4]
    assert text_of(events) == LOCAL


def test_the_text_of_the_cloud_is_shown_when_it_fits(make: Make) -> None:
    with Misbehaving(answers("```json\n", '{"legs": 4, "animal": "cat"}', "\n```")) as server:
        events = events_of(make(server.url), schema=FIELDS, mode="quality")
    assert [event.text for event in events if isinstance(event, TokenText)] == [
        '{"animal": "cat", "legs": 4}'
    ]


def test_nested_answers_are_put_in_the_order_of_the_schema() -> None:
    item = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "null"}},
        "required": ["a", "b"],
    }
    schema = parse_schema({"type": "array", "items": item})
    assert json.loads(schema.fitted('[{"b": null,"a": 1}]') or "") == [{"a": 1, "b": None}]
    assert schema.fitted('[{"b": null,"a": "1"}]') is None
