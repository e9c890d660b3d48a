"""The values of an answer are found in its text with the log-probabilities of their own tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.schemas.fields import FieldValue
from edge_app.turns.structured.field_values import is_empty, plain_values, says_nothing, values_of
from router.confidence.rule import ConfidenceEstimate

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
    max_leaves=6,
)


def judged(logprobs: tuple[float, ...]) -> ConfidenceEstimate:
    return ConfidenceEstimate(len(logprobs) / 100, fitted=True)


def test_a_value_has_the_tokens_that_overlap_it() -> None:
    pieces = [('{"', -1.0), ('a": "x', -2.0), ("y", -4.0), ('", ', -8.0), ('"b": null', -16.0), ("}", -32.0)]
    assert values_of(pieces, judged) == (
        FieldValue("a", "xy", -14.0, 0.03, True),
        FieldValue("b", None, -16.0, None, False),
    )


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.integers(1, 7), st.sampled_from([None, 2]))
def test_all_values_of_any_object_are_found(content: dict[str, Any], size: int, indent: int | None) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    pieces = [(text[at : at + size], -0.5) for at in range(0, len(text), size)]
    found = values_of(pieces, judged)
    assert {value.name: value.value for value in found} == content
    assert {value.name: value.value for value in plain_values(text)} == content
    assert all(value.logprob is not None and value.logprob <= -0.5 for value in found)


@given(st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=3), st.data())
def test_a_text_that_was_cut_has_no_values(content: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(content)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert values_of([(cut, -1.0)], judged) == plain_values(cut) == ()
    assert not says_nothing(cut)


@pytest.mark.parametrize("text", ["[1]", '"a"', "3", "null", ""])
def test_what_is_no_object_has_no_values(text: str) -> None:
    assert values_of([(text, -1.0)], judged) == plain_values(text) == ()


@pytest.mark.parametrize(
    ("value", "empty"),
    [
        (None, True),
        ({}, True),
        ({"a": None, "b": [""]}, True),
        ({"a": 0}, False),
        (False, False),
        ("x", False),
    ],
)
def test_an_answer_without_any_value_is_empty(value: object, empty: bool) -> None:
    assert is_empty(value) == says_nothing(json.dumps(value)) == empty
