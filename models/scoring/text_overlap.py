"""Words that a text about an image has in common with an answer."""

from __future__ import annotations

from models.scoring.answer_rules import normalise


def share_in_text(answer: str, text: str) -> float | None:
    """The share of an answer's words that occur in a text, 0..1; None for an answer without letters and digits.

    Words are compared as in models.scoring.answer_rules.normalise.
    """
    words = normalise(answer).split()
    known = set(normalise(text).split())
    return sum(word in known for word in words) / len(words) if words else None
