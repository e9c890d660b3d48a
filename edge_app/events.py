"""What a turn tells its front end while it runs, in order. Plain data; knows no front end and no engine.

A turn is: TurnSaved, ImageEncoded for each image, Routed (before the images when there was nothing to look for
in them), ContextTrimmed when turns were dropped, TokenText for each piece of the answer, with Progress anywhere
between them, and at the end one of Answered or Failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from models.core.errors import NeedsNetwork, UserError
from models.core.types import Stage
from router.choice import Candidate
from router.confidence.rule import Evidence
from router.types import Mode, Place

StopReason = Literal["stop", "length", "cancelled", "content_filter"]
"""content_filter: a cloud's own, which ended its answer."""

Offer = Literal["ask_cloud"]
"""What the user may do next about an answer: have the same question asked in the cloud (Assistant.ask_cloud)."""


@dataclass(frozen=True)
class TokenCounts:
    """prompt: all tokens of the prompt, images included; image: those that stand for images;
    cached: those of the prompt that were not computed again; completion: generated."""

    prompt: int = 0
    image: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True)
class Timing:
    """Milliseconds. first_token and total count from the moment the turn was handed over, so they include
    loading the model when this turn was the first; first_token is None when no token came. image: looking at
    images and reading what is written in them."""

    route: float = 0.0
    image: float = 0.0
    prefill: float = 0.0
    first_token: float | None = None
    total: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A finished answer and how it came about.

    adapter: a name, or a sum as in "receipts:0.5,medical:0.5"; None when no adapter was used (the model's own
        base LoRA for images is part of the model), as in the cloud.
    place: "cloud" is any endpoint, one on this machine too; `reason` tells these apart.
    confidence: the calibrated probability that a local answer is right, 0..1 (router.confidence.rule); None when
        nothing was generated here.
    reason: the label of the answer, to be shown as it is: where it comes from and why, as in
        "cloud: local confidence 0.41 below 0.60" or "local server: as you asked".
    reason_kind: the kind of the last reason in the label (edge_app.reason_text.CLAUSES), for programs; "text" for an
        answer that was saved before kinds were recorded.
    model: the one that answered, as its place calls it.
    mean_logprob, min_logprob: natural logs, over the answer's tokens; None when nothing was generated here.
    evidence: what there is to judge the local answer by; None of a cloud's, and of turns read back from disk.
    tokens_per_second: decoding only, without the first token; None when fewer than two tokens came.
    session: None when the turn was not saved.
    kept: the local answer, when one was there before the cloud's.
    broken: as far as a cloud answer came that broke off; the answer is then the local one.
    offer: what the user may do next about a local answer that is likely wrong.
    """

    text: str
    adapter: str | None
    place: Place
    mode: Mode
    confidence: float | None
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
    offer: Offer | None = None
    evidence: Evidence | None = field(default=None, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The object that `ask --json` prints; scripts rely on its keys."""
        return self._fields_without("mean_logprob", "min_logprob", "offer", "evidence")

    def details(self) -> dict[str, Any]:
        """Everything but the text and the session, as JSON-ready values under the keys of the session database."""
        return self._fields_without("text", "session", "evidence")

    @classmethod
    def from_details(cls, text: str, session: str, details: Mapping[str, Any]) -> Answer:
        """The inverse of `details`."""
        fields = dict(details)
        tokens, timings = TokenCounts(**fields.pop("tokens")), Timing(**fields.pop("timing_ms"))
        return cls(text=text, session=session, tokens=tokens, timings=timings, **fields)

    def _fields_without(self, *names: str) -> dict[str, Any]:
        """In their order, text and timings under their older keys."""
        keys = {"text": "answer", "timings": "timing_ms"}
        fields = asdict(replace(self, evidence=None))
        return {keys.get(name, name): value for name, value in fields.items() if name not in names}


@dataclass(frozen=True)
class TurnSaved:
    """The question is on disk. Not sent by an assistant that keeps no sessions."""

    session: str
    turn: int


@dataclass(frozen=True)
class Progress:
    """Something takes a while. done, total: bytes for "pull", steps otherwise; total None is unknown."""

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
    reason_kind: as in Answer.
    """

    adapter: str | None
    place: Place
    reason: str
    probability: float | None = None
    candidates: tuple[Candidate, ...] = ()
    reason_kind: str = "text"


@dataclass(frozen=True)
class Routed:
    """Which adapter and which place, and why. milliseconds: what the decision took."""

    route: Route
    mode: Mode
    milliseconds: float = 0.0


@dataclass(frozen=True)
class ImageEncoded:
    """An image of the context is ready for the language model.

    guesses: what the vision tower takes it for, (label, probability), best first; may be empty.
    notes: what was done to it that the user should know ("first of 12 frames").
    cached: it had been encoded before; milliseconds is then about 0.
    """

    name: str
    digest: str
    guesses: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
    cached: bool
    milliseconds: float


@dataclass(frozen=True)
class ContextTrimmed:
    """The chat no longer fits in the model's context: its oldest turns were left out of this answer."""

    dropped_turns: int


@dataclass(frozen=True)
class TokenText:
    """The next piece of the answer; never empty."""

    text: str


@dataclass(frozen=True)
class Escalated:
    """The cloud is being asked, with consent. A local answer that has come until here is saved and kept; the
    texts that follow are another answer, from its beginning.

    reason, reason_kind: the label that an answer from there will have. probability: that the local answer is right,
    and threshold: what it had to reach; None when the cloud is asked before or without it.
    """

    reason: str
    threshold: float | None = None
    probability: float | None = None
    reason_kind: str = "text"


@dataclass(frozen=True)
class CloudFailed:
    """The cloud gave no whole answer: what it was, in one sentence. The local answer counts.

    kept: the local answer so far, which is the answer (or its beginning, when it had been given up early); None
    when there is none yet. Texts that follow go on from there.
    """

    message: str
    kept: str | None


@dataclass(frozen=True)
class Answered:
    """The end. A stopped answer has stop_reason "cancelled", and the text that had come by then."""

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
    | ContextTrimmed
    | TokenText
    | Escalated
    | CloudFailed
    | Answered
    | Failed
)
