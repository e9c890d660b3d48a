"""Checked access to the fields of a table from an untrusted file.

Errors name the file and the field, and say what the field must be.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from models.core.errors import FileError, UserError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LINE, _TEXT = 300, 4000  # characters


class Fields:
    """A table whose fields are checked when they are taken; errors name the file and the field."""

    def __init__(self, table: object, path: Path, name: str) -> None:
        self._path, self._name = path, name
        if not isinstance(table, dict):
            raise FileError(path, f": {name or 'the manifest'} is not a table.")
        self._table = cast("dict[str, Any]", table)
        self._left = set(self._table)

    def names(self) -> tuple[str, ...]:
        return tuple(self._table)

    def take(self, key: str, default: object = None) -> Any:
        """The value of a field, not checked, which then counts as taken."""
        self._left.discard(key)
        return self._table.get(key, default)

    def done(self) -> None:
        """Raises UserError when there is a field that was not taken."""
        if self._left:
            key = min(self._left)
            raise FileError(self._path, f" has the unknown field {self._where(key)!r}; take it out.")

    def line(self, key: str, default: str | None = None) -> str:
        """Text of one line. Without a default the field is required and must not be empty."""
        value = self.text(key, default, _LINE)
        if "\n" in value or "\t" in value:
            raise self._wrong(key, "text of one line")
        return value

    def text(self, key: str, default: str | None = None, longest: int = _TEXT) -> str:
        """Text without control characters. Without a default the field is required and must not be empty."""
        value = self.take(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self._wrong(key, "text")
        if len(value) > longest:
            raise self._wrong(key, f"at most {longest} characters")
        if any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in value):
            raise self._wrong(key, "text without control characters")
        return value

    def lines(self, key: str, most: int) -> tuple[str, ...]:
        """At most `most` texts of one line; empty when the field is missing."""
        values = self.take(key, [])
        if not isinstance(values, list) or len(values) > most:
            raise self._wrong(key, f"a list of at most {most}")
        return tuple(Fields({key: value}, self._path, self._name).line(key) for value in values)

    def digest(self, key: str, default: str | None = None) -> str:
        """A sha256 (hex), or the default."""
        value = self.take(key, default)
        if not isinstance(value, str) or not (value == default or _SHA256.fullmatch(value)):
            raise self._wrong(key, "a sha256 of 64 small hexadecimal digits")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def one_of(self, key: str, values: tuple[Any, ...], default: Any) -> Any:
        """One of the values."""
        value = self.take(key, default)
        if value not in values:
            raise self._wrong(key, f"one of {', '.join(values)}")
        return value

    def count(self, key: str, default: int | None = None, most: int = 2**53 - 1) -> int:
        """A whole number from 1 to `most`."""
        value = self.take(key, default)
        if type(value) is not int or not 0 < value <= most:
            raise self._wrong(
                key, "a whole number from 1 on" if most > 2**32 else f"a whole number from 1 to {most}"
            )
        return value

    def share(self, key: str) -> float:
        """A number from 0 to 1."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self._wrong(key, "a share from 0 to 1")
        return float(value)

    def number(self, key: str, low: float, high: float, default: float) -> float:
        """A number from low to high."""
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def table(self, key: str) -> Fields:
        return Fields(self.take(key, {}), self._path, self._where(key))

    def tables(self, key: str, most: int) -> tuple[Fields, ...]:
        """At most `most` tables; empty when the field is missing."""
        values = self.take(key, [])
        if not isinstance(values, list) or len(values) > most:
            raise self._wrong(key, f"a list of at most {most} tables")
        return tuple(Fields(v, self._path, f"{self._where(key)}[{i}]") for i, v in enumerate(values))

    def facts(self, most: int) -> Mapping[str, str]:
        """Every field of the table as text. Integers and floats are converted."""
        if len(self._table) > most:
            raise FileError(self._path, f": {self._name} has more than {most} fields.")
        facts = {}
        for key, value in self._table.items():
            plain = str(value) if type(value) is float or _is_small(value) else value
            facts[Fields({"name": key}, self._path, self._name).line("name")] = Fields(
                {key: plain}, self._path, self._name
            ).text(key, "")
        return facts

    def _where(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def _wrong(self, key: str, wanted: str) -> UserError:
        """The error for a field that is missing or has a wrong value. wanted: what it must be."""
        if key not in self._table:
            return FileError(self._path, f" lacks {self._where(key)!r}; it must be {wanted}.")
        try:
            shown = repr(self._table[key])
        except (ValueError, RecursionError):  # thousands of digits, or of tables in tables
            shown = "a very large value"
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return FileError(self._path, f" has {self._where(key)} = {shown}; it must be {wanted}.")


def _is_small(value: object) -> bool:
    return type(value) is int and abs(value) < 2**63
