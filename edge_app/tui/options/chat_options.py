"""What the user sets for one chat alone: the system prompt, and sampling and detail in place of the settings'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_app.images.image_detail import DETAILS, ImageDetail
from edge_app.settings import Settings
from models.core.errors import UserError
from models.core.types import Sampling

NAMES = ("temperature", "max_tokens", "seed", "detail")
"""What `/set` changes."""

DEFAULT = "default"
"""The value that gives an option back to the settings."""

MOST_TOKENS = 1_000_000
HIGHEST_TEMPERATURE = 5.0
HIGHEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class ChatOptions:
    """The options of one chat. None leaves an option to the settings.

    temperature: 0 is greedy. max_tokens: of an answer. seed: makes sampling repeatable. detail: how closely images are
    looked at.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    detail: ImageDetail | None = None

    def with_value(self, name: str, text: str) -> ChatOptions:
        """These options with one of them changed.

        text: the value as it was typed; DEFAULT takes it back. Raises UserError for a name that there is not, or a
        value that the option cannot have.
        """
        if name not in NAMES:
            raise UserError(f"There is no option {name}; there are {', '.join(NAMES)}.")
        return replace(self, **{name: None if text == DEFAULT else _value(name, text)})  # type: ignore[arg-type]  # by name

    def sampling(self, settings: Sampling) -> Sampling:
        """The settings' sampling with what this chat changes."""
        changes = self.as_json()
        changes.pop("detail", None)
        return replace(settings, **changes)

    def words(self, settings: Settings) -> tuple[str, ...]:
        """Each option that differs from the settings, such as "temperature 0.7", in the order of NAMES."""
        return tuple(
            f"{name.replace('_', ' ')} {value:g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' ')} {value}"
            for name, value in self.as_json().items()
            if value != getattr(settings, "image_detail" if name == "detail" else name)
        )

    def as_json(self) -> dict[str, Any]:
        """The options that are set, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> ChatOptions:
        """The inverse of `as_json`. What this version does not know, or cannot be, is left out."""
        options = cls()
        for name, value in saved.items():
            try:
                options = options.with_value(name, str(value))
            except UserError:
                continue
        return options


def _value(name: str, text: str) -> float | int | ImageDetail:
    if name == "detail":
        if text not in DETAILS:
            raise UserError(f"There is no detail {text}; there are {', '.join(DETAILS)}.")
        return text
    if name == "temperature":
        return _number(name, text, float, 0.0, HIGHEST_TEMPERATURE)
    if name == "max_tokens":
        return int(_number(name, text, int, 1, MOST_TOKENS))
    return int(_number(name, text, int, 0, HIGHEST_SEED))


def _number(name: str, text: str, kind: type[float] | type[int], least: float, most: float) -> float:
    whole = "a whole number" if kind is int else "a number"
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not least <= value <= most:
        highest = f"to {most:,.0f}" if most < HIGHEST_SEED else "on"
        raise UserError(f"{name} is {whole} from {least:g} {highest}, or {DEFAULT}; not {text or 'nothing'}.")
    return value
