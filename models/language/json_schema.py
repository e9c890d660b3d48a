"""JSON Schemas as grammars that decoding can follow, made by llguidance.

A schema that cannot be followed exactly is refused, with the name of the keyword and where it stands. JSON is written
as `json.dumps` writes it, with ", " and ": " between values and no other blanks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any

from models.core.errors import UserError

MOST_BYTES = 256 << 10
"""Bytes of a schema as JSON."""

MOST_NESTED = 64
"""Levels of schemas within schemas, and of lists and objects in a schema."""

MOST_REPEATED = 10_000
"""The largest minItems, minLength and minProperties. A longer answer fits no context."""

UNSUPPORTED = frozenset(
    {
        "not", "if", "then", "else", "uniqueItems", "contains", "minContains", "maxContains", "propertyNames",
        "unevaluatedItems", "unevaluatedProperties",
        "$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor", "$anchor", "x-guidance",
    }
)  # fmt: skip
"""Keywords that restrict an answer in a way that decoding cannot follow token by token."""

_OF_ONE = ("items", "additionalItems", "additionalProperties")
_OF_SEVERAL = ("prefixItems", "items", "anyOf", "oneOf", "allOf")
_BY_NAME = ("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions")
_DEPENDENT = ("dependentRequired", "dependentSchemas", "dependencies")
_LEAST = ("minItems", "minLength", "minProperties")
_NUMBERS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties",
)  # fmt: skip
_TEXTS = ("format", "pattern", "$ref")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]+)?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_PATTERNS = {"date": f"^{_DATE}$", "time": f"^{_TIME}$", "date-time": f"^{_DATE}[tT]{_TIME}$"}
"""Formats that llguidance takes too widely: 29 February in any year, a leap second in any minute (none here)."""


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The grammar of the JSON texts that fit a schema. Raises UserError when it cannot be followed exactly."""
    from llguidance import LLMatcher

    text = _checked(schema)
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            text, overrides={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        )
        is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    except ValueError as error:
        raise _refused(str(error)) from None
    except BaseException as error:  # a panic of Rust code is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise _refused("llguidance fails on it") from None
    if is_error:
        raise _refused(messages[0])
    return grammar


def fits(grammar: str, text: str) -> bool:
    """Whether a text is one of a grammar's."""
    from llguidance import LLMatcher, LLTokenizer

    tokens = LLTokenizer("byte")
    matcher, ids = LLMatcher(tokens, grammar, log_level=0), tokens.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def _checked(schema: Mapping[str, Any]) -> str:
    """The schema as JSON for llguidance. Raises UserError for what llguidance would not refuse by itself."""
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(f"it cannot be written as JSON: {error}") from None
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise _refused("it has half of a surrogate pair, which is no letter") from None
    if size > MOST_BYTES:
        raise _refused(f"it is larger than {MOST_BYTES >> 10} kB")
    if _depth(text) > MOST_NESTED:
        raise _refused(f"it is nested more than {MOST_NESTED} levels deep")
    names = sorted({each for where in _subschemas(schema, "") for each in _obstacles(*where)})
    if names:
        raise UserError(f"The schema cannot be used: {', '.join(names)} is not supported.")
    return json.dumps(_rewritten(schema), ensure_ascii=False)


def _rewritten(schema: Any) -> Any:
    """An equal schema in the form that llguidance takes.

    Counts become integers, dates and times patterns, and what depends on a property an alternative to its absence.
    """
    if not isinstance(schema, Mapping):
        return schema
    new = dict(schema)
    for key in _OF_ONE:
        if isinstance(new.get(key), Mapping):
            new[key] = _rewritten(new[key])
    for key in _OF_SEVERAL:
        if isinstance(new.get(key), list):
            new[key] = [_rewritten(part) for part in new[key]]
    for key in _BY_NAME:
        if isinstance(new.get(key), Mapping):
            new[key] = {name: _rewritten(part) for name, part in new[key].items()}
    for key in _COUNTS:
        if isinstance(new.get(key), float) and new[key].is_integer():
            new[key] = int(new[key])
    parts = [_dependent(name, what) for key in _DEPENDENT for name, what in new.pop(key, {}).items()]
    pattern = _PATTERNS.get(new.get("format", ""))
    if pattern is not None:
        del new["format"]
        parts.append({"pattern": pattern})
    if parts:
        new["allOf"] = [*new.get("allOf", []), *parts]
    return new


def _dependent(name: str, what: Any) -> dict[str, Any]:
    """A schema of objects that lack a property, or have it and the others that are named, or fit a schema as well."""
    others, more = (what, []) if isinstance(what, list) else ([], [what])
    return {"anyOf": [{"properties": {name: False}}, {"allOf": [{"required": [name, *others]}, *more]}]}


def _depth(text: str) -> int:
    """How deeply lists and objects are nested in a JSON text."""
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _subschemas(schema: object, path: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Every schema within a schema, itself included, each with its path: "properties/tags/items"."""
    if not isinstance(schema, Mapping):
        return
    yield schema, path
    for key in _OF_ONE:
        yield from _subschemas(schema.get(key), f"{path}/{key}")
    for key in _OF_SEVERAL:
        parts = schema.get(key)
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            yield from _subschemas(part, f"{path}/{key}/{number}")
    for key in _BY_NAME:
        named = schema.get(key)
        for name, part in (named if isinstance(named, Mapping) else {}).items():
            yield from _subschemas(part, f"{path}/{key}/{name}")


def _obstacles(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """The keywords of one schema that cannot be followed, each with its place."""
    place = f" (at {path.removeprefix('/')})" if path else ""
    for key in schema:
        if key in UNSUPPORTED and schema[key] is not False:
            yield f"`{key}`{place}"
    reference = schema.get("$ref")
    if isinstance(reference, str) and not reference.startswith("#"):
        yield f"`$ref` to {reference[:80]}{place}"
    for key in _LEAST:
        if _at_least(schema, key) > MOST_REPEATED:
            yield f"`{key}` above {MOST_REPEATED}{place}"
    required = schema.get("required")
    if _at_least(schema, "minProperties") > max(1, len(required) if isinstance(required, list) else 0):
        yield f"`minProperties` above the number of required properties{place}"  # names could be repeated
    yield from _malformed(schema, place)


def _malformed(schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """The keywords of one schema whose value is of another kind than the keyword has."""
    for key in _DEPENDENT:
        if key in schema and not _is_dependent(schema[key]):
            yield f"`{key}` that is no object of lists or schemas{place}"
    if not isinstance(schema.get("allOf", []), list):
        yield f"`allOf` that is no list{place}"
    for key in _NUMBERS:
        if _is_other_than(schema, key, int | float):  # also true of draft 4, whose meaning is another
            yield f"`{key}` that is no number{place}"
    for key in _TEXTS:
        if _is_other_than(schema, key, str):
            yield f"`{key}` that is no text{place}"


def _is_dependent(value: object) -> bool:
    """Whether a value has the form of `dependentRequired` or `dependentSchemas`."""
    return isinstance(value, Mapping) and all(
        all(isinstance(name, str) for name in each)
        if isinstance(each, list)
        else isinstance(each, Mapping | bool)
        for each in value.values()
    )


def _is_other_than(schema: Mapping[str, Any], key: str, kind: type | UnionType) -> bool:
    return key in schema and (isinstance(schema[key], bool) or not isinstance(schema[key], kind))


def _at_least(schema: Mapping[str, Any], key: str) -> float:
    least = schema.get(key)
    return least if isinstance(least, int | float) else 0


def _refused(why: str) -> UserError:
    line = " ".join(why.split())
    return UserError(f"The schema cannot be used: {line[:300].rstrip('.')}.")
