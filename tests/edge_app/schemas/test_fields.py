"""Lists of fields are read as they are typed, and values get the type of their field."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.schemas.fields import KINDS, Field, fields_schema, parse_fields, typed_value
from models.core.errors import UserError


def test_a_list_of_fields_has_names_and_kinds() -> None:
    assert parse_fields("company, date:date , total:Number,in stock:boolean") == (
        Field("company"),
        Field("date", "date"),
        Field("total", "number"),
        Field("in stock", "boolean"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no name"),
        ("a,,b", "no name"),
        (":date", "no name"),
        ("a:colour", "text, number, integer, date, boolean"),
        ("a, b, a:date", "'a' is named twice"),
        ("x" * 101, "more than 100 characters"),
        ("tot\udcff:number", "no UTF-8 text"),
        (",".join(f"f{number}" for number in range(101)), "at most 100"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_fields(text)


@given(st.text(max_size=300))
def test_any_text_is_fields_or_refused(text: str) -> None:
    try:
        fields = parse_fields(text)
    except UserError:
        return
    assert parse_fields(",".join(f"{field.name}:{field.kind}" for field in fields)) == fields


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("text", " MR. D.I.Y. ", "MR. D.I.Y."),
        ("text", "  ", None),
        ("number", "RM 1,250.90", 1250.9),
        ("number", "ten", None),
        ("number", "9" * 20, None),
        ("integer", "12", 12),
        ("integer", "12.5", None),
        ("date", "28-12-17", "2017-12-28"),
        ("date", "15 JUN 18", "2018-06-15"),
        ("date", "31/02/2018", None),
        ("boolean", "Yes.", True),
        ("boolean", "false", False),
        ("boolean", "perhaps", None),
        ("boolean", "ON", True),
        ("boolean", "Disabled", False),
    ],
)
def test_a_value_has_the_type_of_its_field(kind: str, text: str, value: object) -> None:
    assert typed_value(kind, text) == value  # type: ignore[arg-type]


@given(
    st.sampled_from(KINDS), st.text(max_size=40) | st.from_regex(r"-?\d{1,25}(\.\d{1,9})?", fullmatch=True)
)
def test_every_value_fits_the_schema_of_its_field(kind: str, text: str) -> None:
    field = Field("value", kind)  # type: ignore[arg-type]
    said = json.dumps({"value": typed_value(field.kind, text)}, allow_nan=False)
    checker = jsonschema.FormatChecker(formats=["date"])
    jsonschema.validate(json.loads(said), fields_schema([field]), format_checker=checker)
