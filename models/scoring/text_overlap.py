"""Words that a text about an image has in common with an answer, or with a question."""

from __future__ import annotations

import re
from typing import Final

from models.scoring.answer_rules import normalise

_COMMON: Final = re.compile(
    r"a|an|and|are|at|did|do|doe|for|how|i|in|is|it|much|of|on|say|that|the|this|to|wa|what|when|which|who"
)


def share_in_text(answer: str, text: str) -> float | None:
    """The share of an answer's words that occur in a text, 0..1; None for an answer without letters and digits.

    Words are compared as in models.scoring.answer_rules.normalise.
    """
    words = normalise(answer).split()
    known = set(normalise(text).split())
    return sum(word in known for word in words) / len(words) if words else None


def nearest_lines(text: str, question: str, most: int) -> str:
    """The lines of a text that have the most words in common with a question, in the order of the text.

    Of lines with equally many, the first ones are taken. Common words such as "the" do not count.
    """
    wanted = {word for word in normalise(question).split() if not _COMMON.fullmatch(word)}
    lines = text.split("\n")
    nearest = sorted(range(len(lines)), key=lambda i: (-len(wanted & set(normalise(lines[i]).split())), i))
    return "\n".join(lines[i] for i in sorted(nearest[:most]))
