"""Renders reasons (router.types.Reason) and candidates as text. The only module that holds the reasons' sentences.

A reason becomes a clause: lower case, no full stop. The label of an answer joins the clauses of its reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_app.system.terminal_text import capitalised, one_line
from router.types import Reason

if TYPE_CHECKING:
    from router.choice import Candidate

CLAUSES = {
    "text": "{text}",
    # which adapter
    "no_adapter_installed": "no adapter is installed",
    "no_adapter_asked": "no adapter, as asked",
    "adapter_asked": "adapter {adapter}, as asked",
    "adapter_suits": "looks like {adapter}{likeness}",
    "page_of_text": "the image is a page of text, and {adapter} answers such questions",
    "no_adapter_suits": "no adapter: nearest is {adapter}{likeness}",
    "question_out_of_scope": "no adapter: the image looks like {adapter}, the question is none of its tasks{likeness}",
    "other_language_model": "no adapter: the router knows the questions of another language model only",
    "too_many_adapters": "no adapter: there are too many for the model to read what they are for",
    "adapters_need_image": "no adapter: there is no image, and those installed are for images",
    "adapters_without_examples": "no adapter: none of those installed has examples to compare with",
    "adapters_unreadable": "no adapter: {message}",
    "router_not_here": "no adapter: choosing one needs the model {model}, which is not on this machine",
    "adapters_see_one_image": "no adapter: the question is about several images and adapters look at one",
    "not_routed": "stopped before an adapter was chosen",
    "field_read": "read in a labelled field",
    "text_read": "the text that was read in the image",
    "about_assistant": "a question about the assistant",
    "about_answer": "a question about the answer before",
    "other_language": "a language that the model here does not speak",
    "blank_image": "the image has one colour, so there is nothing to read",
    "no_image": "there is no image to look at",
    "several_images": "the question is about several images and this device looks at one",
    # which place first
    "mode": "mode {mode}",
    "mode_on_battery": "mode {mode}, leaning to eco on battery",
    "mode_prefers_cloud": "mode {mode}: {cloud:.2f} expected of the {elsewhere}, {local:.2f} of this device",
    "mode_but": "mode {mode}, but {obstacle}",
    "cloud_asked": "as you asked",
    "expert_asked": "asked for its model {model}",
    "without_images": "without the images, which it did not take",
    "question_too_long": "the question is longer than this device reads at once",
    # whether a local answer is kept
    "confidence": "{whose}confidence {probability:.2f}",
    "confidence_below": "{whose}confidence {probability:.2f} below {threshold:.2f}",
    "confidence_enough": "{whose}confidence {probability:.2f}, {threshold:.2f} is enough",
    "declined": "this device does not know",
    "mode_keeps_local": "mode {mode} asks the {elsewhere} only when told to",
    "mode_keeps_decline": "mode {mode} asks the {elsewhere} about that only when told to",
    # why the endpoint gave no answer
    "no_cloud": "no cloud is set up",
    "cloud_misconfigured": "{error}",
    "offline": "the app is offline",
    "cloud_resting": "{endpoint} failed several times and is left alone for a while",
    "image_withheld": "marked never to be sent: {images}",
    "host_forbidden": "you decided that nothing is sent to {host}; `edge-app cloud forget` undoes that",
    "allow_cloud_missing": "asking {endpoint} needs --allow-cloud",
    "host_declined": "you did not allow {host}",
    "cloud_failed": "{error}",
    "cloud_not_awaited": "the other answer was not waited for",
}
"""By kind, a format string over the fields of the reason and three more values.

elsewhere: what the other place is called. whose: "local " in the label of an answer from elsewhere. likeness: of a
candidate, from the fields image and question. A kind that is not here shows its field `text`.
"""


NOTICES = {
    "router_not_here": "Adapters are chosen by the model {model}, which is not on this machine, so none answers; "
    "`edge-app models pull {model}` brings it.",
}
"""By kind, a sentence that the user is told once, beside the reasons of answers."""


def notice(reason: Reason) -> str | None:
    """What the user should know about this and later answers; None for most reasons."""
    pattern = NOTICES.get(reason.kind)
    return None if pattern is None else pattern.format(**reason.fields)


def clause(reason: Reason, elsewhere: str = "cloud", whose: str = "") -> str:
    """The clause of a reason: lower case, no full stop.

    elsewhere: what the place is called that is not this device. whose: put before "confidence".
    """
    values = {name: _shown(name, value, elsewhere) for name, value in reason.fields.items()}
    pattern = CLAUSES.get(reason.kind, CLAUSES["text"])
    return pattern.format(**values, elsewhere=elsewhere, whose=whose, likeness=_likeness(reason))


def sentence(reason: Reason, elsewhere: str = "cloud") -> str:
    """The clause with a capital letter and a full stop. elsewhere: as for `clause`."""
    text = clause(reason, elsewhere)
    return f"{capitalised(text)}."


def inside(message: str) -> str:
    """The message of an error as a part of a longer sentence: no full stop, the first letter in lower case.

    Messages begin with a word of the app, never with a name.
    """
    text = message.rstrip(".")
    return text[:1].lower() + text[1:]


def candidate_rows(candidates: Sequence[Candidate]) -> list[tuple[str, str, str, str]]:
    """Cells for a table of candidates: name, score, image and question; "-" for what is unknown."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    return [
        (one_line(each.adapter), f"{each.score:+.1f}", share(each.image), share(each.question))
        for each in candidates
    ]


@dataclass(frozen=True)
class Label:
    """Why a decision was taken or an answer is from its place.

    at: the place in words, shown first: "local", or what the endpoint is called; empty shows none.
    elsewhere: what the endpoint is called.
    """

    at: str
    elsewhere: str
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        whose = "local " if self.at == self.elsewhere else ""
        clauses = "; ".join(
            clause(reason, self.elsewhere, whose) for reason in _without_repeats(self.reasons)
        )
        return ": ".join(part for part in (self.at, clauses) if part)

    @property
    def kind(self) -> str:
        """The kind of the last reason, which decided."""
        return self.reasons[-1].kind if self.reasons else "text"


def _without_repeats(reasons: Sequence[Reason]) -> list[Reason]:
    """The reasons, without "mode" when a later one names the mode again, and without an obstacle that was named."""
    repeated = any(reason.kind in ("mode_keeps_local", "mode_keeps_decline") for reason in reasons)
    named = [reason.fields["obstacle"] for reason in reasons if reason.kind == "mode_but"]
    return [reason for reason in reasons if reason not in named and not (repeated and reason.kind == "mode")]


def _shown(name: str, value: object, elsewhere: str) -> object:
    if isinstance(value, Reason):
        return clause(value, elsewhere)
    if isinstance(value, tuple):
        return ", ".join(value)
    return inside(str(value)) if name == "error" else value


def _likeness(reason: Reason) -> str:
    """For adapter_suits and its opposites, such as ": image 0.91, question 0.50"; unknown values are left out."""
    known = {name: reason.fields.get(name) for name in ("image", "question")}
    figures = [f"{name} {value:.2f}" for name, value in known.items() if isinstance(value, int | float)]
    return f": {', '.join(figures)}" if figures else ""
