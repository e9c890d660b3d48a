"""Fields are asked for one by one, and the JSON of their answers fits the schema whatever the model says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.store.manifest import Example
from edge_app.schemas.answer_schema import AnswerSchema, parse_schema, schema_of_fields
from edge_app.schemas.fields import KINDS, Field, fields_schema, parse_fields
from edge_app.turns.structured.field_questions import (
    FieldAsker,
    FieldQuestion,
    FieldQuestions,
    field_question,
    questions_for,
)
from models.core.types import StopReason, Token
from models.language.copying.policy import CopyPolicy

Calls = list[tuple[str, str | None]]

EXAMPLES = (
    Example("How much is the total amount?", task="total"),
    Example("What is the total?", "9.90", "total"),
    Example("Where is the shop?", task="shop_address"),
)


class Said(Iterator[Token]):
    """An answer of one token a word."""

    prompt_tokens, image_tokens, cached_tokens, dropped_turns, prefill_ms, decode_ms = 10, 2, 3, 0, 1.0, 2.0

    def __init__(self, text: str, ends: StopReason = "stop", logprob: float = -0.5) -> None:
        self.text, self.stop_reason, self.completion_tokens = "", None, 0
        self._words, self._ends, self._logprob = text.split(" "), ends, logprob

    def __next__(self) -> Token:
        if not self._words:
            self.stop_reason = self._ends
            raise StopIteration
        word = self._words.pop(0)
        self.text += word if not self.completion_tokens else f" {word}"
        self.completion_tokens += 1
        return Token(self.completion_tokens, word, self._logprob)


def asked(
    schema: AnswerSchema, answers: dict[str, Any], page: str = ""
) -> tuple[FieldQuestions, list[tuple[str, str | None]]]:
    calls: list[tuple[str, str | None]] = []

    def ask(question: str, grammar: str | None, copying: CopyPolicy | None) -> Said:
        calls.append((question, grammar))
        texts = () if copying is None else (*copying.excluded, *copying.choices)
        said = answers[", ".join((question, *texts))] if grammar is None else "7"
        return said if isinstance(said, Said) else Said(said)

    asker = FieldAsker("own", (), ask, lambda _: None, page)  # type: ignore[arg-type]
    questions = [FieldQuestion(f"{field.name}?", asker, None, is_task=True) for field in schema.fields]
    return FieldQuestions(schema, questions), calls


def asker(
    name: str, scopes: dict[str, float], calls: list[str], examples: tuple[Example, ...] = ()
) -> FieldAsker:
    """An adapter that answers with its name. scopes: by question; -1 for others."""

    def ask(question: str, grammar: str | None, copying: CopyPolicy | None) -> Said:
        del grammar, copying
        calls.append(f"{name}: {question}")
        return Said(name)

    return FieldAsker(name, examples, ask, lambda question: scopes.get(question, -1.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("total", "What is the total?"),
        ("Shop-address", "Where is the shop?"),
        ("due_date", "What is the due date?"),
    ],
)
def test_a_field_is_asked_for_as_the_adapter_was_trained(name: str, question: str) -> None:
    assert field_question(Field(name), EXAMPLES) == question


def test_the_answers_are_composed_with_their_types() -> None:
    schema = schema_of_fields(parse_fields("company, date:date, total:number, address"))
    answers = {
        "company?": "MR. D.I.Y.",
        "date?": "28-12-17",
        "total?": "RM 9.90",
        "address?": "I cannot tell that from the receipt.",
    }
    stream, _ = asked(schema, answers)
    tokens = list(stream)
    expected = {"company": "MR. D.I.Y.", "date": "2017-12-28", "total": 9.9, "address": None}
    assert json.loads(stream.text) == expected
    assert "".join(token.text for token in tokens) == stream.text
    assert [field.value for field in stream.asked] == list(expected.values())
    assert [len(field.logprobs) for field in stream.asked] == [2, 1, 2, 7]
    assert (len(tokens), stream.completion_tokens, stream.prompt_tokens, stream.stop_reason) == (
        12,
        12,
        40,
        "stop",
    )


def test_an_answer_that_is_cut_or_stopped_says_so() -> None:
    schema = schema_of_fields(parse_fields("a, b"))
    cut, _ = asked(schema, {"a?": Said("x", "length"), "b?": "y"})
    list(cut)
    assert (cut.text, cut.stop_reason) == ('{"a": "x", "b": "y"}', "length")
    stopped, calls = asked(schema, {"a?": Said("x", "cancelled"), "b?": "y"})
    list(stopped)
    assert (stopped.text, stopped.stop_reason, len(calls)) == ("", "cancelled", 1)


def test_a_value_that_may_not_be_null_is_asked_for_within_its_grammar() -> None:
    content = fields_schema(parse_fields("total:number, name"))
    content["properties"] = {"total": {"type": "number"}, "name": {"type": "string"}}
    stream, calls = asked(parse_schema(content), {"total?": "a lot of it", "name?": "It is unknown."})
    list(stream)
    assert stream.text == '{"total": 7, "name": ""}'
    assert [question for question, grammar in calls if grammar is not None] == ["total?"]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=30)), min_size=1, max_size=4))
def test_the_json_fits_the_schema_whatever_is_said(answers: list[tuple[Any, str]]) -> None:
    schema = schema_of_fields([Field(f"f{number}", kind) for number, (kind, _) in enumerate(answers)])
    stream, _ = asked(schema, {f"f{number}?": text for number, (_, text) in enumerate(answers)})
    list(stream)
    checker = jsonschema.FormatChecker(formats=["date"])
    jsonschema.validate(json.loads(stream.text), schema.content, format_checker=checker)


def test_mistakes_in_what_was_copied_from_the_page_are_mended() -> None:
    schema = schema_of_fields(parse_fields("company, date:date, paid:date, total:number"))
    page = "BHPetrol Palekbang\n15/Apr/2017 12:30\nTotal 77.20"
    answers = {
        "company?": "BHPETROL PALEBANG",
        "date?": "15/AOU/2017",
        "paid?": "1/1/2016",
        "total?": "77.25",
    }
    stream, _ = asked(schema, answers, page)
    list(stream)
    assert json.loads(stream.text) == {
        "company": "BHPetrol Palekbang",
        "date": "2017-04-15",
        "paid": "2016-01-01",
        "total": 77.25,
    }


def test_a_value_is_judged_by_its_own_tokens_when_lines_behind_it_are_left_out() -> None:
    schema = schema_of_fields(parse_fields("address, shop"))
    stream, _ = asked(schema, {"address?": "1 High Street \nTel: 555 0100", "shop?": "A Shop"})
    list(stream)
    assert json.loads(stream.text) == {"address": "1 High Street", "shop": "A Shop"}
    assert [len(field.logprobs) for field in stream.asked] == [3, 2]


def test_a_copy_of_which_the_model_is_sure_is_left_as_it_is() -> None:
    schema = schema_of_fields(parse_fields("company, date:date"))
    page = "99 SPEED MART 5/B\n15/Apr/2017"
    sure = {"company?": Said("99 SPEED MART S/B", logprob=-0.1), "date?": Said("15/AOU/2017", logprob=-0.1)}
    stream, _ = asked(schema, sure, page)
    list(stream)
    assert json.loads(stream.text) == {"company": "99 SPEED MART S/B", "date": "2017-04-15"}


@pytest.mark.parametrize(
    ("logprob", "address"), [(-0.5, "12 High Street"), (-1.5, "12 High Street"), (-9.0, "GREEN VALLEY MART")]
)
def test_a_text_that_repeats_another_field_gives_way_to_a_passage_that_is_nearly_as_likely(
    logprob: float, address: str
) -> None:
    schema = schema_of_fields(parse_fields("company, address"))
    answers = {
        "company?": "GREEN VALLEY M4RT",
        "address?": "GREEN VALLEY MART",
        "address?, GREEN VALLEY MART": Said("12 High Street", logprob=logprob),
    }
    stream, calls = asked(schema, answers, "GREEN VALLEY MART\n12 High Street")
    tokens = list(stream)
    assert json.loads(stream.text) == {"company": "GREEN VALLEY MART", "address": address}
    assert (len(calls), len(tokens), "".join(token.text for token in tokens)) == (3, 9, stream.text)


def test_what_is_no_date_or_number_is_replaced_by_one_of_the_page() -> None:
    schema = schema_of_fields(parse_fields("date:date, total:number, count:integer, name"))
    page = "Date: 16/02/201812:04:58 or 3 Mar 2018\nTotal RM 1,077.20 for 2"
    answers = {
        "date?": "I6/O2/ZO1B",
        "date?, 16/02/2018, 3 Mar 2018": "16/02/2018",
        "total?": "RM lots",
        "total?, 16, 02, 201812, 04, 58, 3, 2018, 1,077.20, 2": "1,077.20",
        "count?": "It is unknown.",
        "name?": "-",
    }
    stream, calls = asked(schema, answers, page)
    list(stream)
    assert json.loads(stream.text) == {"date": "2018-02-16", "total": 1077.2, "count": None, "name": "-"}
    assert len(calls) == 6


def test_what_is_no_boolean_is_replaced_by_yes_or_no_unless_it_is_not_on_the_page() -> None:
    schema = schema_of_fields(parse_fields("wifi:boolean, paid:boolean, urgent:boolean, opened:boolean"))
    answers = {
        "wifi?": "On",
        "paid?": "by card",
        "paid?, Yes, No": "Yes",
        "urgent?": "Not on the page.",
        "opened?": "never",
        "opened?, Yes, No": "No",
    }
    stream, _ = asked(schema, answers, "WiFi On\npaid by card\nnever opened")
    list(stream)
    assert json.loads(stream.text) == {"wifi": True, "paid": True, "urgent": None, "opened": False}


def test_numbers_may_repeat_one_another_and_a_stop_within_the_second_answer_stops() -> None:
    schema = schema_of_fields(parse_fields("total:number, paid:number, payee, shop"))
    answers = {"total?": "9.90", "paid?": "9.90", "payee?": "A Shop", "shop?": "A Shop"}
    stopped = {"shop?, 9.90, 9.90, A Shop": Said("Total", "cancelled")}
    stream, calls = asked(schema, answers | stopped, "A Shop\nTotal 9.90")
    list(stream)
    assert (len(calls), stream.stop_reason) == (5, "cancelled")


def test_fields_that_are_no_task_are_asked_of_the_adapter_for_any_page() -> None:
    schema = schema_of_fields(parse_fields("phone, total, colour, cashier, shop"))
    calls: list[str] = []
    chosen = asker("receipts", {"What is the shop?": 2.0}, calls, EXAMPLES)
    pages = asker("pages", {"What is the phone?": 1.0, "What is the cashier?": 1.0}, calls)
    questions = questions_for(schema.fields, chosen, lambda: pages)
    assert [(each.asker.adapter, each.is_task) for each in questions] == [
        ("pages", True),
        ("receipts", True),
        ("receipts", False),
        ("pages", True),
        ("receipts", True),
    ]
    stream = FieldQuestions(schema, questions)
    texts = [token.text for token in stream]
    assert [call.partition(":")[0] for call in calls] == ["pages"] * 2 + ["receipts"] * 3
    assert texts == ['{"phone": "pages"', "", ', "total": "receipts"', ', "colour": "receipts", "cashier": "pages"',
                     ', "shop": "receipts"}']  # fmt: skip
    assert stream.text == "".join(texts)
    assert list(json.loads(stream.text)) == [field.name for field in stream.asked] == list(schema.names)


def test_the_adapter_for_any_page_is_not_looked_for_without_need() -> None:
    fields = parse_fields("total, shop_address")
    chosen = asker("receipts", {}, [], EXAMPLES)
    assert all(each.is_task for each in questions_for(fields, chosen, lambda: pytest.fail("looked for")))


def test_without_an_adapter_for_any_page_the_chosen_one_is_asked() -> None:
    (question,) = questions_for(parse_fields("phone"), asker("receipts", {}, [], EXAMPLES), lambda: None)
    assert (question.asker.adapter, question.text, question.is_task) == (
        "receipts",
        "What is the phone?",
        False,
    )
