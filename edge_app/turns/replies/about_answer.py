"""Replies to "are you sure?" and "why?" after an answer, from what is known of that answer.

A model, above all one with an adapter, cannot judge its own answer: it writes another one, or gibberish. The confidence
of the answer says how sure it is. Only a text that is nothing but such a question counts: "are you sure it is a
circle?" is a question about the image.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from edge_app.answer_text import sureness
from edge_app.system.terminal_text import one_line

if TYPE_CHECKING:
    from edge_app.answer import Answer
    from edge_app.storage.session_records import SavedTurn

AboutAnswer = Literal["doubt", "reason"]
"""doubt: whether the answer is right, and how sure it is. reason: why it is that answer."""

LONGEST = 60
"""Characters of a question that is looked at, and of an answer that is quoted."""

_RIGHT = r"(?:right|correct|true|certain|sure|accurate|wrong|a mistake)"
_THAT = r"(?:that|this|it|the answer|your answer)"
_FORMS: tuple[tuple[AboutAnswer, str], ...] = (
    ("doubt", r"(?:are )?you (?:really |quite |absolutely |completely |so )?(?:sure|certain|positive|confident)"
              r"(?: (?:about|of) (?:that|this|it))?"),
    ("doubt", r"(?:sure|certain|really|seriously|honestly)(?: sure)?"),
    ("doubt", r"(?:is|was) " + _THAT + r" (?:really |actually )?" + _RIGHT),
    ("doubt", r"how (?:sure|certain|confident)(?: are you)?(?: (?:about|of|in) " + _THAT + ")?"),
    ("doubt", r"(?:can|should|could) (?:i|we) (?:trust|believe|rely on) (?:that|this|it|you|the answer|your answer)"),
    ("doubt", r"(?:are you|could you be|might you be) (?:wrong|mistaken)|(?:is|was) (?:that|it) so"),
    ("doubt", r"(?:please )?(?:check|look|read)(?: (?:it|that))? again|(?:please )?double ?check(?: (?:it|that))?"),
    ("reason", r"why|why (?:is|was) (?:that|this|it)(?: so)?|why so|how so|how come"),
    ("reason", r"(?:why|how) (?:do|did|can|could|would) you (?:know|think|say|tell|see)(?: (?:that|this|it|so))?"),
    ("reason", r"what makes you (?:say|think) (?:that|so)"),
    ("reason", r"(?:please )?explain(?: (?:that|it|why|yourself|your answer))?"),
)  # fmt: skip
_PATTERNS = tuple((kind, re.compile(form)) for kind, form in _FORMS)
_SPELLINGS = (
    (r"[’`']", ""),
    (r"\br ?u\b", "are you"),
    (r"\bu\b", "you"),
    (r"\by\b", "why"),
    (r"\brly\b", "really"),
    (r"\bthats\b", "that is"),
    (r"[^\w ]+", " "),
    (r"\s+", " "),
)
_AROUND = re.compile(
    r"^(?:(?:and|but|so|ok|okay|hm+|um+|no|wait|oh|well|n) )+|(?: (?:please|pls|plz|then|though|now))+$"
)


def asks_about_answer(text: str) -> AboutAnswer | None:
    """What a question asks about the answer before it; None when it is about something else."""
    if len(text) > LONGEST or "\n" in text.strip():
        return None
    plain = text.lower()
    for pattern, spelling in _SPELLINGS:
        plain = re.sub(pattern, spelling, plain)
    plain = _AROUND.sub("", plain.strip())
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(plain)), None)


def was_about_answer(turn: SavedTurn) -> bool:
    """Whether a saved turn is a question about the answer before it that the app replied to."""
    answer = turn.result
    return (
        answer is not None
        and answer.place == "local"
        and not answer.tokens.completion
        and asks_about_answer(turn.question) is not None
    )


def how_sure(answer: Answer) -> str | None:
    """A sentence that says how sure an answer is, in words and as a number; None when that is unknown."""
    word = sureness(answer)
    if word == "does not know":
        return "No, I do not know the answer to that question."
    if word is None or answer.confidence is None:
        return None
    percent = min(max(round(100 * answer.confidence), 1), 99)
    text = one_line(answer.text.strip())
    quoted = f'"{text}"' if text and len(text) <= LONGEST else "my answer"
    start = {"sure": "Yes, I am sure", "fairly sure": "I am fairly sure"}.get(word, "No, I am not sure")
    end = "" if word == "sure" else " Please check it yourself."
    estimate = "" if answer.calibrated else " (an estimate that is not calibrated)"
    return f"{start}: {quoted} is right with a probability of {percent}%{estimate}.{end}"


def no_reason(answer: Answer) -> str:
    """The decline to explain an answer."""
    known = (how_sure(answer) or "").removeprefix("Yes, ").removeprefix("No, ")
    if answer.declined:
        return known
    return f"I cannot explain that answer; I only read it off the image. {known}".rstrip()
