"""Fields: the named, typed values that an answer has to give, as in "company, date:date, total:number"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from models.core.errors import UserError
from models.scoring.normal_forms import as_date, as_number

FieldKind = Literal["text", "number", "integer", "date", "boolean"]
KINDS: tuple[FieldKind, ...] = get_args(FieldKind)

MOST_FIELDS = 100
LONGEST_NAME = 100

_TYPES = {"text": "string", "number": "number", "integer": "integer", "date": "string", "boolean": "boolean"}
_YES = frozenset({"yes", "true", "on", "enabled"})
_NO = frozenset({"no", "false", "off", "disabled"})
_LARGEST = 10**15  # a longer row of digits is a code, and a float would round it
_ANOTHER_LINE = re.compile(r":|\b(?:tel|fax|gst|phone|email|e-mail|www)\b|\d{7}", re.IGNORECASE)
_LABELLED_END = re.compile(r"\s*\([^()]*(?::|\d{7})[^()]*\)?$")
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Field:
    """One value to give. name: its key in the answer's JSON. kind: its type; a date is written as YYYY-MM-DD."""

    name: str
    kind: FieldKind = "text"


@dataclass(frozen=True)
class FieldValue:
    """The value of a field in an answer.

    value: a JSON value; None for what is not there. A list or an object where the schema has one.
    logprob: natural logarithm of the model's probability of the value's tokens; None for a cloud answer.
    confidence: the probability that the value is right, 0..1; None for a value that is None, and for a cloud answer.
    calibrated: the confidence was fitted on such answers; otherwise it only orders values by how sure the model is.
    """

    name: str
    value: Any
    logprob: float | None = None
    confidence: float | None = None
    calibrated: bool = False


def parse_fields(text: str) -> tuple[Field, ...]:
    """The fields of "company, date:date, total:number". A name without a kind is text.

    Raises UserError for an unknown kind, a name that is empty, no UTF-8 or there twice, and for too many fields.
    """
    fields = tuple(_field(part) for part in text.split(","))
    names = [field.name for field in fields]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise UserError(f"The field {doubled!r} is named twice; give each field its own name.")
    if len(fields) > MOST_FIELDS:
        raise UserError(f"There are {len(fields)} fields; at most {MOST_FIELDS} can be asked for at once.")
    return fields


def _field(part: str) -> Field:
    name, colon, kind = part.rpartition(":")
    name, kind = (name, kind.strip().lower()) if colon else (kind, "text")
    name = _BLANKS.sub(" ", name).strip()
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise UserError(f"The field {name!r} has a byte that is no UTF-8 text; write its name in UTF-8.")
    if not name:
        raise UserError('A field has no name; write fields as in "company, date:date, total:number".')
    if len(name) > LONGEST_NAME:
        raise UserError(f"The field {name[:20]!r}… has a name of more than {LONGEST_NAME} characters.")
    known = next((each for each in KINDS if each == kind), None)
    if known is None:
        raise UserError(f"The field {name!r} has the kind {kind!r}; there are {', '.join(KINDS)}.")
    return Field(name, known)


def fields_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """The JSON Schema of an object with these fields, in this order. Each may be null."""
    return {
        "type": "object",
        "properties": {field.name: _schema(field.kind) for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }


def _schema(kind: FieldKind) -> dict[str, Any]:
    if kind == "date":
        return {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}
    return {"type": [_TYPES[kind], "null"]}


def typed_value(kind: FieldKind, text: str) -> str | int | float | bool | None:
    """A value of this kind from a text as it stands on a page: "RM 9.90" is 9.9, "28-12-17" is "2017-12-28".

    None when the text is no such value.
    """
    plain = text.strip()
    match kind:
        case "text":
            return _in_one_line(plain) or None
        case "date":
            day = as_date(plain)
            return None if day is None else day.isoformat()
        case "boolean":
            word = plain.lower().strip(" .!")
            return True if word in _YES else False if word in _NO else None
        case _:
            number = as_number(plain)
            if number is None or abs(number) > _LARGEST:
                return None
            whole = number == number.to_integral_value()
            if kind == "integer":
                return int(number) if whole else None
            return float(number)


def _in_one_line(text: str) -> str:
    """A value in one line, without the labelled lines that follow it on a page, such as "TEL : 03-78800732"."""
    first, *others = text.splitlines() or [""]
    kept = [first]
    for line in others:
        if _ANOTHER_LINE.search(line):
            break
        kept.append(line)
    joined = _BLANKS.sub(" ", " ".join(kept)).strip()
    return _LABELLED_END.sub("", joined) or joined
