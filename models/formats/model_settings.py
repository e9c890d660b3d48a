"""Checked access to the configuration of a model: the metadata of a GGUF file, or a JSON object such as config.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.core.errors import UserError

MOST_LAYERS: Final = 1000
"""Layers that a configuration may state. Published models have at most about 130; a file that claims 2**31 would fill
the memory with their names."""


class ModelSettings:
    """Checked access to the numbers and scalars of a model's configuration.

    Every method raises UserError, which names the file and the key, for a value of another kind.
    """

    def __init__(self, path: str | Path, values: Mapping[str, Any], prefix: str = "") -> None:
        """path, prefix: for messages; the prefix is put before a key's name."""
        self._path = path
        self._values = values
        self._prefix = prefix

    def integer(self, key: str, default: int | None = None, most: int = (1 << 31) - 1) -> int:
        """A positive whole number, at most `most`. Without a default the key is required."""
        value = self._values.get(key)
        value = default if value is None else value
        if type(value) is not int or value <= 0:
            raise UserError(
                f"{self._path} has {self._prefix}{key} = {value!r}; a positive whole number is needed"
            )
        if value > most:
            raise UserError(f"{self._path} has {self._prefix}{key} = {value}; at most {most} is supported")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number. Without a default the key is required."""
        value = self._values.get(key)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 < value < 1e30:  # type: ignore[operator]  # a number by now
            raise UserError(f"{self._path} has {self._prefix}{key} = {value!r}; a positive number is needed")
        return float(value)  # type: ignore[arg-type]  # checked above

    def scalar(self, key: str, default: str | float | None = None) -> str | float | None:
        """A text, number or truth value; the default without the key."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, str | int | float):
            raise UserError(f"{self._path} has {self._prefix}{key} = {value!r}; a single value is needed")
        return default if value is None else value
