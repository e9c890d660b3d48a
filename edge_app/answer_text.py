"""What is said about an answer: notes while it is made, and the line below it.

The line says where the answer was computed, how sure it is, what can be done about it, and its speed. The chat, `ask`
and the server say the same. Text of a model or of a file passes through `one_line`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from edge_app.system.terminal_text import one_line

if TYPE_CHECKING:
    from edge_app.answer import Answer
    from edge_app.events import Event
    from router.choice import Candidate

Sureness = Literal["sure", "fairly sure", "unsure", "does not know"]

SURE = 0.85
"""An answer of at least this confidence is called sure."""

EVEN = 0.5
"""An answer of lower confidence is more likely wrong than right, and is called unsure in every mode."""

_ENDS = {
    "cancelled": "stopped",
    "length": "cut off at the longest answer",
    "content_filter": "ended by the cloud's filter",
}


def note_of(event: Event) -> str | None:
    """What an event says that the user should know about the answer, in a sentence; None for nothing."""
    from edge_app.events import ContextTrimmed, ImageEncoded, Notice

    match event:
        case Notice(message):
            return message
        case ImageEncoded(name=name, notes=notes) if notes:
            return one_line(f"{name}: {', '.join(notes)}.")
        case ContextTrimmed(count):
            turns = (
                "the oldest question and its answer were"
                if count == 1
                else f"the {count} oldest questions were"
            )
            return f"The chat is longer than the model can read at once: {turns} left out for this answer."
    return None


def sureness(answer: Answer) -> Sureness | None:
    """How sure an answer is, in words. An answer below the threshold of its mode is unsure, unless it is called sure.

    None when that is unknown: of a cloud answer, of a stopped one, and of a built-in reply.
    """
    if answer.declined:
        return "does not know"
    if answer.place != "local" or answer.confidence is None or answer.stop_reason == "cancelled":
        return None
    if answer.confidence >= SURE:
        return "sure"
    return "unsure" if answer.offer is not None or answer.confidence < EVEN else "fairly sure"


def needs_help(answer: Answer) -> bool:
    """Whether the user is told what could give a better answer."""
    return sureness(answer) in ("unsure", "does not know")


def sure_text(answer: Answer) -> str:
    """The sureness with its number, such as "sure, 95%" or "unsure, 31%, not calibrated"; empty when it is unknown."""
    word = sureness(answer)
    if word is None or answer.confidence is None:
        return word or ""
    percent = min(max(round(100 * answer.confidence), 1), 99)
    return f"{word}, {percent}%{'' if answer.calibrated else ', not calibrated'}"


def answer_line(
    answer: Answer, elsewhere: str = "cloud", offers: Sequence[str] = (), general: str = ""
) -> str:
    """The line without the speed.

    general: the chosen model, which is not named; "" names no model.
    elsewhere: what the place is called that is not this device. offers: what the user can do about an answer that is
    unsure, each a clause such as "F6 asks the cloud".
    """
    where = "on this device" if answer.place == "local" else f"from the {elsewhere}"
    if answer.place == "local" and general not in ("", answer.model):
        where += f" by {one_line(answer.model)}"
    sure = sure_text(answer)
    if offers and sure:
        sure += f": {', '.join(offers)}"
    return " · ".join(part for part in (_ENDS.get(answer.stop_reason, ""), where, sure) if part)


def speed_text(answer: Answer) -> str:
    """The adapter and tokens per second, as far as they are known; else empty."""
    parts = [f"adapter {one_line(answer.adapter)}"] if answer.adapter else []
    if answer.tokens_per_second is not None:
        parts.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return ", ".join(parts)


def answer_details(answer: Answer) -> list[tuple[str, str]]:
    """Everything that is known of an answer, as names and values."""
    tokens, timings = answer.tokens, answer.timings
    adapter = one_line(answer.adapter) if answer.adapter else "none"
    confidence = "none" if answer.confidence is None else f"{answer.confidence:.3f}"
    if answer.confidence is not None and not answer.calibrated:
        confidence += ", not calibrated (`edge-app eval confidence` fits it)"
    rows = [
        ("model", one_line(answer.model)),
        ("adapter", adapter if answer.place == "local" else ""),
        ("why", one_line(answer.reason)),
        ("confidence", confidence if answer.place == "local" and not answer.declined else ""),
        ("declined", "yes" if answer.declined else ""),
        (
            "tokens",
            f"{tokens.prompt} in ({tokens.cached} cached, {tokens.image} image), {tokens.completion} out",
        ),
        ("speed", speed_text(replace(answer, adapter=None))),
        (
            "times",
            ", ".join(
                f"{name} {seconds(value / 1000)}"
                for name, value in (
                    ("route", timings.route),
                    ("image", timings.image),
                    ("prefill", timings.prefill),
                    ("first token", timings.first_token),
                    ("total", timings.total),
                )
                if value
            ),
        ),
    ]
    return [(name, value) for name, value in rows if value]


def another_adapter(asked: str, used: str | None, candidates: Sequence[Candidate]) -> str | None:
    """The adapter for another try: "auto" after a named one, else the best unused candidate that scores above no
    adapter, else "none". None when nothing is left to try.

    asked: the adapter that the question was asked with. used: the one that answered, None for the plain model.
    """
    if asked != "auto":
        return None if asked == "none" else "auto"
    suits = (each.adapter for each in candidates if each.adapter != used and each.score > 0)
    return next(suits, "none" if used is not None else None)


def adapter_words(adapter: str) -> str:
    """What is tried with an adapter: its name, or words for "none" and "auto"."""
    return {"none": "no adapter", "auto": "the router's choice"}.get(adapter, one_line(adapter))


def seconds(value: float) -> str:
    """A duration as text: "0.42 s", "12.3 s", "1.5 min"."""
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 60 else f"{value / 60:.1f} min"
