"""An answer as plain data: the text and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from edge_app.schemas.fields import FieldValue
from router.confidence.rule import Evidence
from router.types import Mode, Place

StopReason = Literal["stop", "length", "cancelled", "content_filter"]
"""content_filter: the endpoint ended its answer for its content."""

Offer = Literal["ask_cloud", "set_up_cloud"]
"""What the user may do about an answer: ask the cloud the same question (Assistant.ask_cloud), or set up a cloud."""


@dataclass(frozen=True)
class TokenCounts:
    """Numbers of tokens of an answer.

    prompt: tokens of the prompt, images included. image: of these, the image tokens. cached: of the prompt, those
    that were in the KV cache. completion: generated tokens.
    """

    prompt: int = 0
    image: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True)
class Timing:
    """Milliseconds.

    route: choosing the adapter. image: encoding images and reading text in them. prefill: of the prompt.
    first_token, total: since the turn was handed over, including the load of the model in a first turn; first_token is
    None when no token came.
    """

    route: float = 0.0
    image: float = 0.0
    prefill: float = 0.0
    first_token: float | None = None
    total: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A finished answer and how it came about.

    adapter: a name, or a sum such as "receipts:0.5,medical:0.5"; None for the plain model (whose base LoRA is a part
        of it), and for a cloud answer.
    place: "cloud" is any endpoint, also one on this machine; `reason` names which.
    confidence: the probability that a local answer is right, 0..1 (router.confidence.rule); None when nothing was
        generated here, and for a decline.
    declined: the text says that the question cannot be answered (router.confidence.declines, or a built-in reply).
    calibrated: the confidence was fitted for the adapter, or for the plain model; False without a confidence.
    reason: the label to show with the answer, with its place and why, such as
        "cloud: local confidence 0.41 below 0.60" or "local server: as you asked".
    reason_kind: the kind of the last reason in the label (edge_app.reason_text.CLAUSES), for programs; "text" for an
        answer that was saved before kinds were recorded.
    model: name of the model that answered.
    precision: how it computed, "int8" or "float" (models.engine.Engine.precision); None for a cloud answer, for a
        built-in reply, and for one that was saved before this was recorded.
    mean_logprob, min_logprob: natural logarithms, over the answer's tokens; None when nothing was generated here.
    evidence: what the confidence was computed from; None for a cloud answer, for a built-in reply, and for a turn
        read from disk.
    tokens_per_second: of decoding, without the first token; None when fewer than two tokens came.
    session: None when the turn was not saved.
    kept: the local answer, when there was one before the cloud's.
    broken: the beginning of a cloud answer that broke off; the answer is then the local one.
    offer: what the user may do about a local answer that is likely wrong or a decline.
    fields: the values of an answer that fits a schema, by the keys of its object; empty without a schema.
    """

    text: str
    adapter: str | None
    place: Place
    mode: Mode
    confidence: float | None
    declined: bool = False
    calibrated: bool = False
    reason: str
    reason_kind: str = "text"
    model: str
    stop_reason: StopReason
    tokens: TokenCounts
    timings: Timing
    tokens_per_second: float | None
    session: str | None
    mean_logprob: float | None = None
    min_logprob: float | None = None
    kept: str | None = None
    broken: str | None = None
    precision: str | None = None
    offer: Offer | None = None
    fields: tuple[FieldValue, ...] = ()
    evidence: Evidence | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The object that `ask --json` prints; scripts rely on its keys. `fields` is there when a schema was asked."""
        without = () if self.fields else ("fields",)
        return self._fields_without("mean_logprob", "min_logprob", "offer", "evidence", *without)

    def details(self) -> dict[str, Any]:
        """Everything but the text and the session, as JSON-ready values under the keys of the session database."""
        return self._fields_without("text", "session", "evidence")

    @classmethod
    def from_details(cls, text: str, session: str, details: Mapping[str, Any]) -> Answer:
        """The inverse of `details`."""
        fields = dict(details)
        tokens, timings = TokenCounts(**fields.pop("tokens")), Timing(**fields.pop("timing_ms"))
        values = tuple(FieldValue(**each) for each in fields.pop("fields", ()))
        return cls(text=text, session=session, tokens=tokens, timings=timings, fields=values, **fields)

    def _fields_without(self, *names: str) -> dict[str, Any]:
        """In their order; text and timings under the keys that earlier versions used."""
        keys = {"text": "answer", "timings": "timing_ms"}
        fields = asdict(replace(self, evidence=None))
        return {keys.get(name, name): value for name, value in fields.items() if name not in names}
