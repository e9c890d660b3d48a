"""The schema that an answer has to fit, read from a JSON Schema, a pydantic model, a file or a list of fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_app.schemas.fields import Field, FieldKind, fields_schema
from models.core.errors import UserError
from models.core.files import path_in_url
from models.language.json_schema import MOST_BYTES, fits, grammar_of

_KINDS: Mapping[str, FieldKind] = {
    "string": "text",
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
}
_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_SAYS_NOTHING = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})


@dataclass(frozen=True)
class AnswerSchema:
    """A schema that decoding can follow, made by `parse_schema` or `schema_of_fields`.

    text: the JSON Schema as JSON. fields: the keys of the object, each with its kind, when the schema is an object of
    simple values that are all required; empty for any other schema.
    """

    text: str
    fields: tuple[Field, ...] = ()

    @cached_property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.text)
        return content

    @property
    def names(self) -> list[str]:
        """The keys of the object that the schema names; none for another schema."""
        properties = self.content.get("properties")
        return list(properties) if isinstance(properties, dict) else []

    @property
    def empty(self) -> str | None:
        """The object whose values are all null, as JSON; None when the schema does not allow that."""
        if not self.fields or not all(map(self.may_be_null, self.names)):
            return None
        return json.dumps(dict.fromkeys(self.names), ensure_ascii=False)

    @cached_property
    def grammar(self) -> str:
        """The grammar that decoding follows."""
        return grammar_of(self.content)

    def fitted(self, text: str) -> str | None:
        """The JSON in an answer of another program, in the form that the grammar has; None when it does not fit.

        A fence around the JSON is left out, and the keys of objects are put in the order of the schema.
        """
        fenced = _FENCED.fullmatch(text.strip())
        try:
            value = json.loads(fenced[1] if fenced else text)
            written = json.dumps(_ordered(value, self.content), ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            return None
        return written if fits(self.grammar, written) else None

    def grammar_of_field(self, name: str) -> str:
        """The grammar of one value of the object."""
        return grammar_of(self.content["properties"][name])

    def may_be_null(self, name: str) -> bool:
        """Whether the field may be null."""
        part = self.content["properties"][name]
        return "null" in ([each.get("type") for each in part["anyOf"]] if "anyOf" in part else _types(part))


def schema_of_fields(fields: Sequence[Field]) -> AnswerSchema:
    """The schema of an answer with these fields."""
    return AnswerSchema(json.dumps(fields_schema(fields), ensure_ascii=False), tuple(fields))


def parse_schema(source: AnswerSchema | Mapping[str, Any] | type) -> AnswerSchema:
    """The schema in a dict or of a pydantic model's class.

    Raises UserError that names each keyword that decoding cannot follow, and TypeError for anything else.
    """
    if isinstance(source, AnswerSchema):
        return source
    if isinstance(source, type):
        content = _of_model(source)
    elif isinstance(source, Mapping):
        content = source
    else:
        raise TypeError(f"schema is a {type(source).__name__}; give a dict or a pydantic model's class")
    grammar_of(content)
    return AnswerSchema(json.dumps(content, ensure_ascii=False), _fields(content))


def read_schema(file: Path) -> AnswerSchema:
    """The schema in a file, also by a file: URL. Raises UserError when it cannot be read or followed."""
    file = path_in_url(str(file)) or file
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{file} is larger than {MOST_BYTES >> 10} kB; a schema may be at most that large.")
    try:
        schema = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON ({error}).") from None
    if not isinstance(schema, dict):
        raise UserError(f"{file} holds no JSON Schema, which is an object.")
    return parse_schema(schema)


def _of_model(model: type) -> Mapping[str, Any]:
    describe = getattr(model, "model_json_schema", None)
    if describe is None:
        raise TypeError(f"schema is the class {model.__name__}, which is no pydantic model")
    content: Mapping[str, Any] = describe()
    return content


def _fields(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields of an object of simple values that are all required; none for any other schema."""
    properties = schema.get("properties")
    known = {"type", "properties", "required", "additionalProperties", "$schema", "$id", *_SAYS_NOTHING}
    if schema.get("type") != "object" or not isinstance(properties, Mapping) or not schema.keys() <= known:
        return ()
    required = schema.get("required")
    if not isinstance(required, list) or set(required) != properties.keys():
        return ()
    kinds = {name: _kind(part) for name, part in properties.items()}
    return tuple(Field(name, kind) for name, kind in kinds.items() if kind) if all(kinds.values()) else ()


def _kind(part: object) -> FieldKind | None:
    """The kind of a simple value that may be null; None for a schema that says more."""
    if not isinstance(part, Mapping):
        return None
    said = {key: value for key, value in part.items() if key not in _SAYS_NOTHING}
    if said.keys() == {"anyOf"} and isinstance(said["anyOf"], list):
        others = [each for each in said["anyOf"] if each != {"type": "null"}]
        return _kind(others[0]) if len(others) == 1 and len(said["anyOf"]) == 2 else None
    if said.keys() == {"type", "format"} and said["format"] == "date":
        return "date" if said["type"] in ("string", ["string", "null"]) else None
    if said.keys() != {"type"}:
        return None
    plain = [each for each in _types(said) if each != "null"]
    return _KINDS.get(plain[0]) if len(plain) == 1 and isinstance(plain[0], str) else None


def _types(part: Mapping[str, Any]) -> list[Any]:
    types = part.get("type")
    return types if isinstance(types, list) else [types]


def _ordered(value: Any, schema: object) -> Any:
    """A JSON value with the keys of its objects in the order of the schema, those that it does not name last."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [_ordered(each, schema.get("items")) for each in value]
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    names = [name for name in properties if name in value] + [
        name for name in value if name not in properties
    ]
    return {name: _ordered(value[name], properties.get(name)) for name in names}
