"""Reads values of a JSON object from outside, with one clear error for each that does not fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from edge_app.serve.errors import ApiError


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ApiError."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise ApiError("The body is nested too deeply.", code="invalid_json") from None
    except ValueError:  # UnicodeDecodeError is a ValueError
        raise ApiError("The body is no JSON text in UTF-8.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError("The body is no JSON object.", code="invalid_json")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class JsonFields:
    """The fields of a JSON object, `values`. A field that is null counts as missing.

    where: what stands before a field's name in errors, such as "messages[2]."; empty for the request itself.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self.values = values
        self._where = where

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def name(self, field: str) -> str:
        """A field's full name, as errors call it."""
        return f"{self._where}{field}"

    def wrong(self, field: str, problem: str, code: str | None = None) -> ApiError:
        """The error about a field. problem: continues the sentence that begins with its name."""
        return ApiError(f"{self.name(field)} {problem}.", param=self.name(field), code=code)

    def raw(self, field: str) -> Any:
        return self.values.get(field)

    def text(self, field: str) -> str | None:
        value = self.values.get(field)
        if value is not None and not isinstance(value, str):
            raise self.wrong(field, "must be a text")
        return value

    def flag(self, field: str) -> bool | None:
        value = self.values.get(field)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(field, "must be true or false")
        return value

    def number(self, field: str, low: float, high: float) -> float | None:
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(field, "must be a number")
        if not low <= value <= high:
            raise self.wrong(field, f"must lie between {low:g} and {high:g}")
        return float(value)

    def integer(self, field: str, low: int, high: int) -> int | None:
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(field, "must be a whole number")
        if not low <= value <= high:
            raise self.wrong(field, f"must lie between {low} and {high}")
        return value

    def child(self, field: str) -> JsonFields | None:
        """An object in a field."""
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(field, "must be an object")
        return JsonFields(value, f"{self.name(field)}.")

    def children(self, field: str) -> Sequence[JsonFields]:
        """The objects of a list in a field; empty without the field."""
        value = self.values.get(field)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.wrong(field, "must be a list of objects")
        return [JsonFields(each, f"{self.name(field)}[{n}].") for n, each in enumerate(value)]
