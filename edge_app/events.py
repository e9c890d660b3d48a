"""The input and the output of the assistant, as plain data: a Turn, and the events that answer it.

The events of a turn are TurnSaved, ImageEncoded for each image, Routed (before the images when the choice does not need
them), ContextTrimmed when old turns were left out, and TokenText for each piece of the answer. Progress and
ThinkingText may come anywhere between them. The last event is Answered or Failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_app.answer import Answer
from edge_app.images.image_detail import ImageDetail
from edge_app.images.image_sources import ImageBytes
from edge_app.schemas.answer_schema import AnswerSchema
from models.core.errors import NeedsNetwork, UserError
from models.core.types import Image, Sampling, Stage, Token
from router.choice import Candidate
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
