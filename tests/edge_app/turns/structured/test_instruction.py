"""What a model is told of the schema: words for the model here, the schema itself for an endpoint."""

from __future__ import annotations

import pytest

from edge_app.schemas.answer_schema import parse_schema, schema_of_fields
from edge_app.schemas.fields import parse_fields
from edge_app.turns.structured.instruction import (
    LONGEST_SCHEMA,
    default_question,
    with_instruction,
    with_schema,
)
from models.core.types import Message

LIST = {"type": "array", "items": {"type": "string"}}
NAMED = {
    "type": "object",
    "properties": {"a": LIST, "b": {"type": "null"}},
    "description": "x" * LONGEST_SCHEMA,
}
EARLIER = [Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "Which?")]


@pytest.mark.parametrize(
    ("schema", "here", "there"),
    [
        (
            schema_of_fields(parse_fields("day:date, paid:boolean")),
            "Answer with a JSON object: day (YYYY-MM-DD), paid (true or false). Use null for what is not there.",
            "Answer with a JSON object: day (YYYY-MM-DD), paid (true or false). Use null for what is not there.",
        ),
        (
            parse_schema(LIST),
            "Answer with JSON.",
            'Answer with JSON that fits this JSON Schema: {"type": "array", "items": {"type": "string"}}',
        ),
        (parse_schema(NAMED), "Answer with a JSON object: a, b.", "Answer with a JSON object: a, b."),
    ],
)
def test_the_form_stands_below_the_question(schema: object, here: str, there: str) -> None:
    for told, line in ((with_instruction, here), (with_schema, there)):
        messages = told(EARLIER, schema)  # type: ignore[arg-type]
        assert messages[:-1] == EARLIER[:-1]
        assert messages[-1].text == f"Which?\n{line}"


@pytest.mark.parametrize(
    ("fields", "question"),
    [("a", "What is the a?"), ("due_date, b c, d:date", "What are the due date, b c and d?")],
)
def test_fields_alone_are_a_question(fields: str, question: str) -> None:
    assert default_question(schema_of_fields(parse_fields(fields))) == question
    assert default_question(parse_schema(LIST)) == "Answer as JSON."
