"""Answers in the form of OpenAI's API: whole, or as the chunks of a stream, with the object `edge_app` in each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_app.answer import Answer, StopReason
from models.core.types import LikelyToken, Token

FINISH: dict[StopReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "cancelled": "stop",
}
"""OpenAI's `finish_reason` for a stop reason."""

OWN_FIELDS = (
    "adapter",
    "place",
    "confidence",
    "declined",
    "calibrated",
    "reason",
    "reason_kind",
    "model",
    "precision",
    "mode",
    "timing_ms",
    "tokens_per_second",
)
"""Fields of an answer that are in the object `edge_app`, as `ask --json` has them."""


@dataclass(frozen=True)
class Completion:
    """One answer on its way out. model: as the request named it. created: Unix time, in seconds."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer, notes: Sequence[str], tokens: Sequence[Token]) -> dict[str, Any]:
        """The reply of a request that is not streamed.

        notes: what the user should know about the answer. tokens: with log-probabilities, when they were asked for.
        """
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": logprobs(tokens),
            "finish_reason": FINISH[answer.stop_reason],
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": usage(answer),
            "edge_app": own_fields(answer, notes),
        }

    def begin(self) -> dict[str, Any]:
        """The first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str, tokens: Sequence[Token]) -> dict[str, Any]:
        return self._chunk({"content": text}, tokens=tokens)

    def end(self, answer: Answer, notes: Sequence[str]) -> dict[str, Any]:
        """The chunk that ends the answer."""
        return {
            **self._chunk({}, FINISH[answer.stop_reason]),
            "edge_app": own_fields(answer, notes),
        }

    def usage(self, answer: Answer, notes: Sequence[str]) -> dict[str, Any]:
        """The chunk after the end, for requests that ask for the numbers of tokens."""
        return {
            **self._head("chat.completion.chunk"),
            "choices": [],
            "usage": usage(answer),
            "edge_app": own_fields(answer, notes),
        }

    def _chunk(
        self, delta: dict[str, Any], finish: str | None = None, tokens: Sequence[Token] = ()
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs(tokens), "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": None,
        }


def logprobs(tokens: Sequence[Token]) -> dict[str, Any] | None:
    """The log-probabilities of tokens; None without any. The token that ends an answer has no bytes and is left out."""
    content = [
        {
            **_likely(token),
            "top_logprobs": [_likely(each) for each in token.likeliest],
        }
        for token in tokens
        if token.piece
    ]
    return {"content": content, "refusal": None} if content else None


def _likely(token: Token | LikelyToken) -> dict[str, Any]:
    """A token with its log-probability. Bytes that are a part of a character are U+FFFD in its text."""
    return {
        "token": token.piece.decode("utf-8", "replace"),
        "logprob": token.logprob,
        "bytes": list(token.piece),
    }


def usage(answer: Answer) -> dict[str, Any]:
    """The numbers of tokens. Those of images are part of the prompt's."""
    tokens = answer.tokens
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }


def own_fields(answer: Answer, notes: Sequence[str]) -> dict[str, Any]:
    """The object `edge_app` of an answer. With a schema it has the values of the answer, each with its confidence."""
    known = answer.as_json()
    values = {"fields": known["fields"]} if known.get("fields") else {}
    return {**{name: known[name] for name in OWN_FIELDS}, **values, "notes": list(notes)}
