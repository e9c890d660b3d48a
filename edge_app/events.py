"""The input and the output of the assistant, as plain data: a Turn, and the events that answer it.

The events of a turn are TurnSaved, ImageEncoded for each image, Routed (before the images when the choice does not need
them), ContextTrimmed when old turns were left out, and TokenText for each piece of the answer. Progress and
ThinkingText may come anywhere between them. The last event is Answered or Failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from edge_app.images.image_detail import ImageDetail
from edge_app.images.image_sources import ImageBytes
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.schemas.fields import FieldValue
from models.core.errors import NeedsNetwork, UserError
from models.core.types import Image, Sampling, Stage, Token
from router.choice import Candidate
from router.confidence.rule import Evidence
from router.types import Mode, Place

Picture = Path | bytes | ImageBytes | Image
"""An image as a front end has it: a file, the bytes of a file, or decoded."""


@dataclass(frozen=True)
class EarlierMessage:
    """A message before the question, of a conversation that the front end keeps itself."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Turn:
    """One question, as a front end hands it over.

    images: the new images of this turn; those of earlier turns stay in the conversation.
    session: the session to continue, by id or its unique beginning; None starts a new one.
    earlier: the conversation so far, for a turn that continues no session.
    model: the model that answers where no adapter does; None for the assistant's.
    adapter: an installed adapter's name, "none", "auto", or a sum of adapters (adapters.spec).
    sampling: None for the settings' sampling.
    system: the session's system prompt from this turn on; None leaves it unchanged.
    allow_cloud: the user consents to asking the cloud.
    detail: how closely to look at the images (edge_app.images.image_detail); None for the setting.
    see_images, use_words: False hides from the model the images, or the words made from them (for evaluations).
    schema: what the answer has to fit: a JSON Schema, a pydantic model's class, or an AnswerSchema.
        The answer is then JSON. None for an answer in plain text.
    """

    question: str
    images: tuple[Picture, ...] = ()
    session: str | None = None
    earlier: tuple[EarlierMessage, ...] = ()
    model: str | None = None
    adapter: str = "auto"
    mode: Mode = "auto"
    sampling: Sampling | None = None
    system: str | None = None
    allow_cloud: bool = False
    detail: ImageDetail | None = None
    see_images: bool = True
    use_words: bool = True
    schema: AnswerSchema | Mapping[str, Any] | type | None = None


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


@dataclass(frozen=True)
class TurnSaved:
    """The question is on disk. Not emitted by an assistant without sessions."""

    session: str
    turn: int


@dataclass(frozen=True)
class Progress:
    """A step that takes a while.

    done, total: bytes for stage "pull", seconds for "wait", else steps; total is None when it is unknown.
    """

    stage: Stage
    message: str
    done: int
    total: int | None


@dataclass(frozen=True)
class Ready:
    """The model is loaded (from Assistant.prepare)."""

    model: str
    context_length: int
    has_vision: bool


@dataclass(frozen=True)
class Route:
    """The adapter and the place that were chosen for a turn.

    adapter: a name or a sum of adapters; None for the plain model. reason: a sentence part for the user.
    probability: the router's probability that the adapter is right, 0..1; None when no router was asked.
    candidates: the adapters that the router compared, best first.
    reason_kind: as in Answer. model: the model that answers on this device; None for the cloud.
    """

    adapter: str | None
    place: Place
    reason: str
    probability: float | None = None
    candidates: tuple[Candidate, ...] = ()
    reason_kind: str = "text"
    model: str | None = None


@dataclass(frozen=True)
class Routed:
    """Which adapter and which place were chosen. milliseconds: duration of the decision."""

    route: Route
    mode: Mode
    milliseconds: float = 0.0


@dataclass(frozen=True)
class ImageEncoded:
    """An image of the context is ready for the language model.

    guesses: the projector's words for it, (label, probability), best first; may be empty.
    notes: what was done to it that the user should know, such as "first of 12 frames".
    cached: it was encoded before, and milliseconds is about 0.
    """

    name: str
    digest: str
    guesses: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
    cached: bool
    milliseconds: float


@dataclass(frozen=True)
class Notice:
    """Something that the user should know about this and later turns; emitted once. message: one sentence."""

    message: str


@dataclass(frozen=True)
class ContextTrimmed:
    """The chat exceeds the model's context, so its oldest turns were left out of the prompt."""

    dropped_turns: int


@dataclass(frozen=True)
class TokenText:
    """The next piece of the answer; never empty."""

    text: str


@dataclass(frozen=True)
class TokenLogged:
    """A token of the answer with its log-probabilities, when they are asked for (Sampling.top_logprobs).

    It comes before the TokenText that has its text.
    """

    token: Token


@dataclass(frozen=True)
class ThinkingText:
    """The next piece of what an endpoint's model thinks before it answers. It is not saved, and no part of the answer;
    never empty."""

    text: str


@dataclass(frozen=True)
class Escalated:
    """The cloud is being asked, with consent. The local answer, if there is one, is saved and kept. The TokenText
    events that follow are another answer, from its beginning.

    reason, reason_kind: the label that the cloud's answer will have. probability: that the local answer is right.
    threshold: the least probability with which it would have stayed. Both are None when there is no local answer to
    judge; the probability is None for a decline.
    """

    reason: str
    threshold: float | None = None
    probability: float | None = None
    reason_kind: str = "text"


@dataclass(frozen=True)
class CloudFailed:
    """The cloud gave no complete answer, so the local answer counts. message: why, one sentence.

    kept: the local answer, or its beginning when it was paused; None when there is none yet. TokenText events that
    follow continue it.
    """

    message: str
    kept: str | None


@dataclass(frozen=True)
class Answered:
    """The end. A stopped answer has stop_reason "cancelled" and the text that came until then."""

    answer: Answer


@dataclass(frozen=True)
class Failed:
    """The end: one sentence for the user, and the process exit code that fits it (1, 3 or 4)."""

    message: str
    exit_code: int

    def as_error(self) -> UserError:
        """The failure as an exception, for callers that do not read events."""
        kind = NeedsNetwork if self.exit_code == NeedsNetwork.exit_code else UserError
        error = kind(self.message)
        error.exit_code = self.exit_code
        return error


Event = (
    TurnSaved
    | Progress
    | Ready
    | Routed
    | ImageEncoded
    | Notice
    | ContextTrimmed
    | TokenLogged
    | TokenText
    | ThinkingText
    | Escalated
    | CloudFailed
    | Answered
    | Failed
)
