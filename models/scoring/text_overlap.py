"""Words that a text about an image has in common with an answer, or with a question."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Final

from models.scoring.answer_rules import normalise
from models.scoring.normal_forms import as_name

ALIKE: Final = 0.75
"""The least similarity (SequenceMatcher.ratio) of an answer and the passage that it was copied from with mistakes."""

_MOST_WORDS: Final = 60  # of an answer that is compared with passages
_MORE_OR_LESS: Final = 2  # words that the passage may have more, or less

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


def are_alike(first: str, second: str, least: float = ALIKE) -> bool:
    """Whether two texts are at least as similar as `least`, 0..1, by their letters and digits, without case."""
    one, other = as_name(first), as_name(second)
    return bool(one and other) and SequenceMatcher(None, one, other, autojunk=False).ratio() >= least


def nearest_passage(answer: str, text: str, least: float = ALIKE) -> str:
    """The consecutive words of a text that are most like an answer, where a model copies with small mistakes.

    Letters and digits are compared, without case. Returns the answer itself when it stands in the text, and when
    nothing in the text is as similar as `least`, 0..1.
    """
    wanted, words = as_name(answer), text.split()
    count = len(answer.split())
    if not wanted or count > _MOST_WORDS:
        return answer
    names = [as_name(word) for word in words]
    if wanted in "".join(names):
        return answer
    matcher, best = SequenceMatcher(None, "", wanted, autojunk=False), least
    found = answer
    for size in range(max(1, count - _MORE_OR_LESS), count + _MORE_OR_LESS + 1):
        for start in range(len(words) - size + 1):
            matcher.set_seq1("".join(names[start : start + size]))
            if (
                matcher.real_quick_ratio() > best
                and matcher.quick_ratio() > best
                and (ratio := matcher.ratio()) > best
            ):
                best, found = ratio, " ".join(words[start : start + size])
    return found
