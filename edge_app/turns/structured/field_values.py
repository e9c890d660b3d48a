"""The values in an answer that fits a schema, each with the log-probability of its tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edge_app.schemas.fields import FieldValue
from router.confidence.rule import ConfidenceEstimate

Piece = tuple[str, float]
"""The text of a token, and the natural logarithm of its probability."""

Judge = Callable[[tuple[float, ...]], ConfidenceEstimate]
"""The confidence of a value from the log-probabilities of its tokens."""

_DECODER = json.JSONDecoder()


def values_of(pieces: Sequence[Piece], judge: Judge) -> tuple[FieldValue, ...]:
    """The values of a complete JSON object by its keys; none for other JSON and for a text that was cut.

    pieces: all tokens of the answer. A token that reaches over the end of a value belongs to it as well.
    """
    text = "".join(piece for piece, _ in pieces)
    try:
        found = list(_members(text)) if text.startswith("{") else []
    except ValueError:
        return ()
    return tuple(_value(name, value, _within(pieces, start, end), judge) for name, value, start, end in found)


def plain_values(text: str) -> tuple[FieldValue, ...]:
    """The values of a JSON object whose tokens are not known."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return (
        tuple(FieldValue(name, value) for name, value in content.items()) if isinstance(content, dict) else ()
    )


def is_empty(value: Any) -> bool:
    """Whether a JSON value says nothing: null, an empty text, or a list or an object of such values."""
    if isinstance(value, dict):
        return all(is_empty(each) for each in value.values())
    if isinstance(value, list):
        return all(is_empty(each) for each in value)
    return value is None or value == ""


def says_nothing(text: str) -> bool:
    """Whether a JSON text is empty in the sense of `is_empty`; False for a text that was cut."""
    try:
        return is_empty(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _value(name: str, value: Any, logprobs: tuple[float, ...], judge: Judge) -> FieldValue:
    total = sum(logprobs)
    if value is None:
        return FieldValue(name, None, total)
    estimate = judge(logprobs)
    return FieldValue(name, value, total, estimate.probability, estimate.fitted)


def _within(pieces: Sequence[Piece], start: int, end: int) -> tuple[float, ...]:
    """The log-probabilities of the tokens whose text overlaps text[start:end]."""
    position, found = 0, []
    for text, logprob in pieces:
        if position + len(text) > start and position < end:
            found.append(logprob)
        position += len(text)
    return tuple(found)


def _members(text: str) -> Iterator[tuple[str, Any, int, int]]:
    """(key, value, start, end) of each member of an object. Raises ValueError when the text is no complete object."""
    at = _blank(text, 1)
    while at < len(text) and text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _blank(text, _after(text, _blank(text, at), ":"))
        value, end = _DECODER.raw_decode(text, at)
        yield name, value, at, end
        at = _blank(text, end)
        if at < len(text) and text[at] == ",":
            at = _blank(text, at + 1)
    _after(text, at, "}")


def _after(text: str, at: int, character: str) -> int:
    if text[at : at + 1] != character:
        raise ValueError(f"{character!r} is missing")
    return at + 1


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \n\r\t":
        at += 1
    return at
