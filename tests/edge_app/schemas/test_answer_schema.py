"""Schemas are read from dicts, pydantic models and files, and what decoding cannot follow is refused by name."""

from __future__ import annotations

import calendar
import datetime
import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from edge_app.schemas.answer_schema import parse_schema, read_schema, schema_of_fields
from edge_app.schemas.fields import Field, fields_schema, parse_fields
from models.core.errors import UserError
from models.language.json_schema import fits


class Receipt(pydantic.BaseModel):
    """A receipt."""

    company: str
    day: datetime.date | None
    total: float
    items: int = pydantic.Field(description="how many")


def test_a_pydantic_model_has_the_fields_of_its_class() -> None:
    assert parse_schema(Receipt).fields == (
        Field("company"),
        Field("day", "date"),
        Field("total", "number"),
        Field("items", "integer"),
    )
    assert [parse_schema(Receipt).may_be_null(name) for name in ("company", "day", "total")] == [
        False,
        True,
        False,
    ]


def test_a_list_of_fields_is_the_same_as_its_schema() -> None:
    fields = parse_fields("company, date:date, total:number, paid:boolean, items:integer")
    assert parse_schema(fields_schema(fields)) == schema_of_fields(fields)
    assert all(schema_of_fields(fields).may_be_null(field.name) for field in fields)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "object"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": ["string", "number"]}}, "required": ["a"]},
    ],
)
def test_any_other_schema_has_no_fields(schema: dict[str, Any]) -> None:
    assert parse_schema(schema).fields == ()


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"type": "string"}}, "`not` is not supported"),
        (
            {"type": "object", "properties": {"tags": {"uniqueItems": True}}},
            "`uniqueItems` .at properties/tags",
        ),
        ({"$ref": "https://example.com/schema.json"}, "`\\$ref` to https://example.com/schema.json"),
        ({"type": "string", "format": "color"}, "format: color"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "pattern": "(a"}, "unclosed group"),
        ({"type": "text"}, "Invalid type: text"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"type": "string", "minLength": 10**6}, "`minLength` above 10000"),
        ({"x-guidance": {"lenient": True}, "not": {}}, "`not`, `x-guidance` is not supported"),
        ({"exclusiveMinimum": True}, "that is no number"),
        ({"format": {"a" + "é" * 100: 1}}, "`format` that is no text"),
        ({"items": {"maximum": ["é" * 200]}}, "`maximum` that is no number .at items"),
        ({"type": {"a" + "é" * 100: 1}}, "type must be"),
        ({"properties": [1]}, "properties must be an object"),
        ({"items": {"dependentRequired": {"a": "b"}}}, "no object of lists or schemas .at items"),
        ({"dependentSchemas": [1]}, "`dependentSchemas` that is no object"),
        ({"dependentSchemas": {"a": {"not": {}}}}, "`not` .at dependentSchemas/a"),
        ({"allOf": {"type": "string"}}, "`allOf` that is no list"),
        ({"title": "x" * 300_000}, "larger than 256 kB"),
        ({"enum": ["\ud800"]}, "half of a surrogate pair"),
        ({"title": float("nan")}, "cannot be written as JSON"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_by_name(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        parse_schema(schema)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "array", "items": {"type": "null"}, "maxItems": 2.0}, "[null, null]", "[null, null, null]"),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1.0}, "[null]", "[]"),
        ({"anyOf": [{"type": "string", "minLength": 1.0, "maxLength": 1.0}]}, '"a"', '"ab"'),
        ({"type": "object", "minProperties": 1.0, "maxProperties": 1.0}, '{"a": 1}', "{}"),
        ({"const": {"format": "date"}}, '{"format": "date"}', '{"pattern": "date"}'),
    ],
)
def test_a_whole_number_with_a_point_is_an_integer_and_constants_stay(
    schema: dict[str, Any], right: str, wrong: str
) -> None:
    grammar = parse_schema(schema).grammar
    assert fits(grammar, right)
    assert not fits(grammar, wrong)


def test_a_count_that_is_not_whole_is_refused() -> None:
    with pytest.raises(UserError, match="maxItems"):
        parse_schema({"type": "array", "maxItems": 2.5})


DATES = parse_schema({"type": "string", "format": "date"}).grammar


@pytest.mark.parametrize("year", [4, 1600, 1900, 1996, 2000, 2023, 2024, 2100, 2400, 9999])
def test_a_date_is_one_of_the_calendar(year: int) -> None:
    first = datetime.date(year, 1, 1)
    days = 366 if calendar.isleap(year) else 365
    every = (first + datetime.timedelta(day) for day in range(0, days, 9))
    assert all(fits(DATES, f'"{day.isoformat()}"') for day in every)
    wrong = [
        "00-01",
        "13-01",
        "01-00",
        "01-32",
        "04-31",
        "02-30",
        *(() if calendar.isleap(year) else ("02-29",)),
    ]
    assert not any(fits(DATES, f'"{year:04d}-{day}"') for day in wrong)
    assert fits(DATES, f'"{year:04d}-02-29"') == calendar.isleap(year)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("date", ["0001-01-01", "2024-02-29"], ["0000-01-01", "0000-02-29", "2023-02-29", "24-02-29", ""]),
        (
            "time",
            ["23:59:59Z", "00:00:00.25+02:00", "08:30:06-00:20"],
            ["23:59:60Z", "24:00:00Z", "12:00:00"],
        ),
        ("date-time", ["2024-02-29T12:00:00Z", "1963-06-19t08:30:06.28z"], ["2100-02-29T12:00:00Z"]),
    ],
)
def test_dates_and_times_are_those_of_the_calendar_and_the_clock(
    kind: str, right: list[str], wrong: list[str]
) -> None:
    grammar = parse_schema({"type": "string", "format": kind}).grammar
    assert all(fits(grammar, json.dumps(text)) for text in right)
    assert not any(fits(grammar, json.dumps(text)) for text in wrong)


def test_a_date_with_a_pattern_fits_both() -> None:
    grammar = parse_schema({"type": "string", "pattern": "^20", "format": "date"}).grammar
    assert fits(grammar, '"2024-02-29"')
    assert not any(fits(grammar, text) for text in ('"1924-02-29"', '"2023-02-29"', '"20"'))


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(2000):
        schema = {"items": schema}
    with pytest.raises(UserError, match=r"deep|recursion"):
        parse_schema(schema)


def test_what_is_no_schema_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="pydantic"):
        parse_schema("company, total")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int"):
        parse_schema(int)


def test_a_file_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    with pytest.raises(UserError, match="No such file"):
        read_schema(file)
    for content, said in ((b"{", "not JSON"), (b"[]", "an object"), (b"[" * 100_000, "not JSON")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read_schema(file)
    file.write_bytes(b" " * 300_000)
    with pytest.raises(UserError, match="larger"):
        read_schema(file)
    file.write_text(json.dumps(Receipt.model_json_schema()))
    assert read_schema(file) == parse_schema(Receipt)
    assert read_schema(Path(file.as_uri())) == parse_schema(Receipt)
