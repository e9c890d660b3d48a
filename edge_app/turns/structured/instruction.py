"""What a model is told about the schema of its answer, and the question when the user gives only a schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_app.schemas.answer_schema import AnswerSchema
from models.core.types import Message

LONGEST_SCHEMA = 4000
"""Characters. A longer schema is not written into the prompt; decoding follows it all the same."""

_WRITTEN = {
    "text": "text",
    "number": "number",
    "integer": "whole number",
    "date": "YYYY-MM-DD",
    "boolean": "true or false",
}


def default_question(schema: AnswerSchema) -> str:
    """The question of a turn that has a schema and no question.

    It names the fields as a person asks for them, because the router chooses by the question who answers.
    """
    names = [" ".join(name.replace("_", " ").split()) for name in schema.names]
    if not names:
        return "Answer as JSON."
    if len(names) == 1:
        return f"What is the {names[0]}?"
    return f"What are the {', '.join(names[:-1])} and {names[-1]}?"


def with_instruction(messages: Sequence[Message], schema: AnswerSchema) -> list[Message]:
    """The messages, with the form of the answer described in words at the end of the last one.

    A small model would repeat a schema that it is shown.
    """
    return _with_line(messages, _in_words(schema))


def with_schema(messages: Sequence[Message], schema: AnswerSchema) -> list[Message]:
    """The messages with the schema itself, for an endpoint that may not read response_format."""
    if schema.fields or len(schema.text) > LONGEST_SCHEMA:
        return with_instruction(messages, schema)
    return _with_line(messages, f"Answer with JSON that fits this JSON Schema: {schema.text}")


def _with_line(messages: Sequence[Message], line: str) -> list[Message]:
    last = messages[-1]
    return [*messages[:-1], replace(last, text=f"{last.text}\n{line}")]


def _in_words(schema: AnswerSchema) -> str:
    if schema.fields:
        listed = ", ".join(f"{field.name} ({_WRITTEN[field.kind]})" for field in schema.fields)
        empty = " Use null for what is not there." if all(map(schema.may_be_null, schema.names)) else ""
        return f"Answer with a JSON object: {listed}.{empty}"
    if schema.names:
        return f"Answer with a JSON object: {', '.join(schema.names)}."
    return "Answer with JSON."
