"""What is asked of a page, and the row that its answer gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.extract.task import Asked, ExtractTask, asked_fields, asked_question, asked_schema
from edge_app.schemas.fields import Field, FieldValue
from models.core.errors import UserError

ANSWER = Answer(
    text=" 9.90\n",
    adapter="receipts",
    place="local",
    mode="quality",
    confidence=0.8,
    reason="",
    model="edge-vlm-135m",
    stop_reason="stop",
    tokens=TokenCounts(),
    timings=Timing(),
    tokens_per_second=None,
    session=None,
)


def task(asked: Asked, adapter: str = "auto") -> ExtractTask:
    return ExtractTask(asked, adapter, "edge-vlm-135m", "w1", "auto")


def test_the_answer_to_a_question_is_a_column() -> None:
    row = task(asked_question("What is the total? ")).row("a.png", 1, "0a", ANSWER)
    assert (row.values, row.confidences, row.adapter, row.declined) == (("9.90",), (0.8,), "receipts", False)
    declined = task(asked_question("Who?")).row(
        "a.png", 1, "0a", replace(ANSWER, declined=True, confidence=None)
    )
    assert (declined.values, declined.declined) == ((None,), True)


def test_fields_are_columns_and_what_is_not_on_the_page_is_empty() -> None:
    asked = asked_fields("company, date:date, total:number")
    assert asked.question == "What are the company, date and total?"
    given = (FieldValue("total", 9.9, -0.1, 0.7), FieldValue("company", "  "), FieldValue("date", None))
    row = task(asked).row("a.png", 1, "0a", replace(ANSWER, fields=given))
    assert (row.values, row.confidences, row.declined) == ((None, None, 9.9), (None, None, 0.7), False)


def test_an_answer_without_any_value_counts_as_declined() -> None:
    row = task(asked_fields("total")).row(
        "a.png", 1, "0a", replace(ANSWER, fields=(FieldValue("total", None),))
    )
    assert row.declined


def test_a_schema_names_the_columns_and_its_lists_are_json(tmp_path: Path) -> None:
    items = {"type": "array", "items": {"type": "string"}}
    schema = {
        "type": "object",
        "properties": {"shop": {"type": "string"}, "items": items},
        "required": ["shop"],
    }
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    asked = asked_schema(file)
    assert asked.fields == (Field("shop"), Field("items"))
    given = (FieldValue("shop", "A"), FieldValue("items", ["é", "b"]))
    row = task(asked).row("a.png", 1, "0a", replace(ANSWER, fields=given))
    assert row.values == ("A", '["é", "b"]')


def test_a_schema_without_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "array", "items": {"type": "string"}}')
    with pytest.raises(UserError, match="columns"):
        asked_schema(file)


def test_two_tasks_are_the_same_when_nothing_differs_that_changes_answers() -> None:
    first = task(asked_fields("total:number, date"))
    assert first.identity == task(asked_fields(" total:number,date:text")).identity
    others = [
        task(asked_fields("total, date")),
        task(asked_fields("date, total:number")),
        task(asked_question("total")),
        task(asked_fields("total:number, date"), "receipts"),
        replace(first, weights="w2"),
        replace(first, detail="high"),
    ]
    assert len({each.identity for each in [first, *others]}) == 7


def test_a_number_that_no_table_holds_is_a_float_or_empty() -> None:
    given = (
        FieldValue("a", 10**30),
        FieldValue("b", 10**400),
        FieldValue("c", float("inf")),
        FieldValue("d", 7),
    )
    row = task(asked_fields("a:integer, b:integer, c:number, d:integer")).row(
        "a.png", 1, "0a", replace(ANSWER, fields=given)
    )
    assert row.values == (1e30, None, None, 7)
