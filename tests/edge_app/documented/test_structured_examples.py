"""Every Python example of docs/structured.md runs as it stands, and what the page says of keywords is so."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_app.schemas.answer_schema import parse_schema
from models.core.errors import UserError
from models.language.constraint import Constraint, Vocabulary
from models.language.json_schema import fits, grammar_of
from tests.edge_app.documented.test_python_api_examples import folder, run
from tests.models.language.test_constraint import answer
from tests.models.language.test_tokenizer import small

__all__ = ["folder"]

PAGE = (Path(__file__).parents[3] / "docs" / "structured.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
FOLLOWED, REFUSED = (
    re.findall(r"`([^`]+)`", line) for line in re.findall(r"^\| (?:followed|refused) \|(.*)\|$", PAGE, re.M)
)
TEXT = {"type": "string"}
CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "type": ({"type": ["integer", "null"]}, ["3", "null"], ["3.5", '"a"']),
    "enum": ({"enum": ["a", 2, None]}, ['"a"', "2", "null"], ['"b"', "3"]),
    "const": ({"const": {"a": [1]}}, ['{"a": [1]}'], ["{}"]),
    "properties": ({"type": "object", "properties": {"a": TEXT}}, ['{"a": "x"}', "{}"], ['{"a": 1}']),
    "required": ({"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, ['{"a": "x"}'], ["{}"]),
    "additionalProperties": (
        {"type": "object", "additionalProperties": {"type": "null"}},
        ['{"b": null}'],
        ['{"b": 1}'],
    ),
    "patternProperties": (
        {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False},
        ['{"xa": null}'],
        ['{"a": null}', '{"xa": 1}'],
    ),
    "dependentRequired": (
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "dependentRequired": {"a": ["b"]}},
        ['{"a": "x", "b": "y"}', '{"b": "y"}', "{}"],
        ['{"a": "x"}'],
    ),
    "dependentSchemas": (
        {"properties": {"a": TEXT, "b": {}}, "dependentSchemas": {"a": {"properties": {"b": TEXT}}}},
        ['{"a": "x", "b": "y"}', '{"b": 1}', '{"a": "x"}'],
        ['{"a": "x", "b": 1}'],
    ),
    "maxProperties": ({"type": "object", "maxProperties": 0}, ["{}"], ['{"a": 1}']),
    "items": ({"type": "array", "items": TEXT}, ['["a", "b"]', "[]"], ["[1]"]),
    "prefixItems": ({"type": "array", "prefixItems": [TEXT, {"type": "null"}]}, ['["a", null]'], ["[1]"]),
    "minItems": ({"type": "array", "items": TEXT, "minItems": 1}, ['["a"]'], ["[]"]),
    "maxItems": ({"type": "array", "items": TEXT, "maxItems": 1}, ['["a"]', "[]"], ['["a", "b"]']),
    "minLength": ({"type": "string", "minLength": 2}, ['"ab"'], ['"a"']),
    "maxLength": ({"type": "string", "maxLength": 2}, ['"ab"', '"üü"'], ['"abc"']),
    "pattern": ({"type": "string", "pattern": "^a+$"}, ['"aa"'], ['"ab"']),
    "format": ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-13-01"', '"1 May"']),
    "minimum": ({"type": "number", "minimum": 3}, ["3", "3.5"], ["2.9"]),
    "maximum": ({"type": "integer", "maximum": 3}, ["3", "-4"], ["4"]),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 3}, ["3.5"], ["3"]),
    "exclusiveMaximum": ({"type": "integer", "exclusiveMaximum": 3}, ["2"], ["3"]),
    "multipleOf": ({"type": "integer", "multipleOf": 5}, ["10"], ["11"]),
    "anyOf": ({"anyOf": [TEXT, {"type": "null"}]}, ['"a"', "null"], ["1"]),
    "oneOf": ({"oneOf": [TEXT, {"type": "null"}]}, ['"a"', "null"], ["1"]),
    "allOf": ({"allOf": [TEXT, {"minLength": 2}]}, ['"ab"'], ['"a"']),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, ["null"], ["1"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_prints_an_answer(example: str, folder: Path, real_home: Path) -> None:
    assert run(example, folder, real_home).strip()


def test_each_followed_keyword_has_a_case() -> None:
    assert len(EXAMPLES) == 3
    assert sorted(FOLLOWED) == sorted(CASES)
    assert f"{len(FOLLOWED)} of {len(FOLLOWED) + len(REFUSED)} are followed" in PAGE


@pytest.mark.parametrize("keyword", CASES)
def test_a_keyword_is_followed_exactly(keyword: str, tmp_path: Path) -> None:
    schema, right, wrong = CASES[keyword]
    grammar, tokenizer = grammar_of(schema), small(tmp_path)
    assert all(fits(grammar, text) for text in right)
    assert not any(fits(grammar, text) for text in wrong)
    vocabulary = Vocabulary(tokenizer, len(tokenizer) + 7)
    for seed in range(8):
        text = answer(tokenizer, Constraint(vocabulary, grammar, 60), 60, random.Random(seed))
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker(["date"]))


@pytest.mark.parametrize("keyword", REFUSED)
def test_a_refused_keyword_is_named(keyword: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"`{keyword}` (at properties/a) is not supported")):
        parse_schema({"type": "object", "properties": {"a": {keyword: {"type": "string"}}}})
