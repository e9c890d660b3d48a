"""Reads the JSON objects of a response as pieces of an answer.

Objects come from outside, so everything in them is checked. What endpoints do beside the documented format is taken:
a whole `message` in the place of a `delta`, text as a list of parts, thinking in a field of its own or between tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edge_app.cloud.errors import EndedEarlyError, NotAStreamError, ReportedError
from edge_app.cloud.protocol.thinking import CloudText, CloudThinking, ThinkTags
from edge_app.system.terminal_text import capitalised

StopReason = Literal["stop", "length", "content_filter"]
THINKING_FIELDS = ("reasoning_content", "reasoning")
"""Where endpoints put what a model thinks. One that fills both repeats itself, so the first counts."""
DEEPEST_PARTS = 3
"""Lists of parts inside parts that are read."""


@dataclass(frozen=True)
class CloudWaiting:
    """The endpoint loads its model. done, total: seconds that have passed, and after which it is waited no longer."""

    at: str
    done: int
    total: int

    @property
    def message(self) -> str:
        """What is waited for, as a sentence without a full stop."""
        return f"{capitalised(self.at)} loads its model"


@dataclass(frozen=True)
class CloudDone:
    """The end of a complete answer. Tokens are None when the endpoint does not count them."""

    stop_reason: StopReason
    prompt_tokens: int | None
    completion_tokens: int | None


Piece = CloudText | CloudThinking | CloudDone


class AnswerReader:
    """Reads one response. Call `read` with each object, then `end`."""

    def __init__(self) -> None:
        self._tags = ThinkTags()
        self._stop: StopReason | None = None
        self._prompt: int | None = None
        self._completion: int | None = None
        self._has_deltas = False

    def read(self, event: object) -> Iterator[CloudText | CloudThinking]:
        """The pieces in an object. Raises NotAStreamError, and ReportedError for an error that is reported in it."""
        if not isinstance(event, dict):
            raise NotAStreamError("it is not made of objects")
        if "choices" not in event and isinstance(event.get("message"), str):
            raise ReportedError(event)
        self._count(event.get("usage"))
        choices = event.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise NotAStreamError("its choices are not a list of objects")
        for choice in choices:
            if choice.get("index") in (None, 0):
                yield from self._choice(choice)

    def end(self, *, is_whole: bool) -> Iterator[CloudText | CloudThinking | CloudDone]:
        """The rest, CloudDone last. is_whole: the response said that it has ended.

        Raises EndedEarlyError when neither the response nor a finish reason says so.
        """
        yield from self._tags.end()
        if self._stop is None and not is_whole:
            raise EndedEarlyError
        yield CloudDone(self._stop or "stop", self._prompt, self._completion)

    def _choice(self, choice: dict[str, Any]) -> Iterator[CloudText | CloudThinking]:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._has_deltas = True
            yield from self._message(delta)
        elif isinstance(message := choice.get("message"), dict) and not self._has_deltas:
            yield from self._message(message)
        finish = choice.get("finish_reason")
        if finish == "error":
            raise ReportedError(None)
        if finish is not None:
            # Endpoints use other values too; all but these two count as "stop".
            self._stop = finish if finish in ("length", "content_filter") else "stop"

    def _message(self, message: dict[str, Any]) -> Iterator[CloudText | CloudThinking]:
        thought = next((value for name in THINKING_FIELDS if (value := message.get(name))), "")
        if isinstance(thought, str) and thought:
            yield CloudThinking(thought)
        for piece in _parts(message.get("content") or message.get("refusal") or ""):
            if isinstance(piece, CloudThinking):
                yield piece
            else:
                yield from self._tags.feed(piece.text)

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._prompt = _tokens(usage.get("prompt_tokens"))
            self._completion = _tokens(usage.get("completion_tokens"))


def _parts(content: object, depth: int = 0) -> Iterator[CloudText | CloudThinking]:
    """The text of a message: a string, or a list of parts that hold text, thinking, or parts again."""
    if isinstance(content, str):
        if content:
            yield CloudText(content)
        return
    if not isinstance(content, list) or depth == DEEPEST_PARTS:
        raise NotAStreamError("its text is not a string")
    for part in content:
        if isinstance(part, str):
            yield from _parts(part, depth)
        elif isinstance(part, dict) and "thinking" in part:
            yield from (CloudThinking(piece.text) for piece in _parts(part["thinking"] or "", depth + 1))
        elif isinstance(part, dict):  # other kinds of parts, such as sources, have no text
            yield from _parts(part.get("text") or part.get("refusal") or "", depth + 1)
        else:
            raise NotAStreamError("a part of its text is not an object")


def _tokens(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
