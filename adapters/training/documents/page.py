"""Pages before they are drawn: lines of text, what stands on them, and what one could ask that does not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

NOT_ON_THE_PAGE: Final = "Not on the page."
"""The answer to a question whose answer is not there. router.confidence.declines takes it for a decline."""

Kind = Literal["field", "table", "text", "absent"]

ASKED: Final = (
    "What is the {}?", "What is the {}?", "What is the {}?", "{}?", "What's the {}?", "Give the {}.",
    "Which {} is shown?", "Read the {}.", "Tell me the {}.", "Can you find the {}?", "{}", "Please read out the {}.",
    "I need the {}.", "What does it say for {}?", "find the {}", "What {} is printed here?", "whats the {}",
    "Which {} is given?", "Could you tell me the {}?", "What is the {} on this page?", "the {} please",
    "Show me the {}.",
)  # fmt: skip
UNSEEN_ASKED: Final = (
    "What {} can be seen on this page?", "Look up the {} for me, please.", "What is given as the {}?", "{} pls",
    "May I know the {}?", "Name the {}.", "I am looking for the {}.", "Would you state the {}?",
)  # fmt: skip
"""Wordings around a noun, for training and for evaluation."""


@dataclass(frozen=True)
class Item:
    """A piece of text in a line. x: of its left edge, or of its right edge if `right`, as a share of the width."""

    text: str
    x: float = 0.0
    right: bool = False


@dataclass(frozen=True)
class WrittenLine:
    """size: of the letters, relative to the page's own. gap: space above, in lines."""

    items: tuple[Item, ...]
    size: float = 1.0
    bold: bool = False
    gap: float = 0.0


@dataclass(frozen=True)
class PageFact:
    """What stands on a page. key: the field's name, empty for none. nouns, asks: how it is asked for."""

    kind: Kind
    value: str
    asks: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a page. covers: fields that may not be asked for as absent. absent: questions without an answer."""

    lines: tuple[WrittenLine, ...]
    facts: tuple[PageFact, ...] = ()
    covers: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenPage:
    """A whole page. style: of the drawing."""

    kind: str
    lines: tuple[WrittenLine, ...]
    facts: tuple[PageFact, ...]
    absent: tuple[str, ...]
    questions: tuple[tuple[str, str, Kind], ...] = field(default=())

    def asked(self, questions: Sequence[tuple[str, str, Kind]]) -> WrittenPage:
        return replace(self, questions=tuple(questions))


def one_of(rng: random.Random, wordings: Sequence[str], unseen: bool) -> str:
    """A wording: the last of three or more only if `unseen`, and then mostly."""
    if len(wordings) < 3:
        return rng.choice(wordings)
    return wordings[-1] if unseen else rng.choice(wordings[:-1])


def question_about(rng: random.Random, nouns: Sequence[str], asks: Sequence[str], unseen: bool) -> str:
    """A question for a fact: a whole one, or a wording around a noun."""
    if asks and (not nouns or rng.random() < 0.45):
        return careless(rng, one_of(rng, asks, unseen))
    noun = one_of(rng, nouns, unseen)
    asked = rng.choice(UNSEEN_ASKED if unseen else ASKED).format(noun)
    return careless(
        rng, asked[:1].upper() + asked[1:] if asked[0] != noun[0] or rng.random() < 0.5 else asked
    )


def careless(rng: random.Random, question: str) -> str:
    """The question as people type it: now and then in small letters, without its mark, or with "please"."""
    chance = rng.random()
    if chance < 0.1:
        return question.lower().rstrip("?.")
    if chance < 0.15:
        return question.rstrip("?.")
    if chance < 0.2:
        return question.rstrip("?.") + ", please?"
    return question


def line(*items: str | Item, size: float = 1.0, bold: bool = False, gap: float = 0.0) -> WrittenLine:
    """A line of items; plain text stands at the left."""
    made = tuple(item if isinstance(item, Item) else Item(item) for item in items)
    return WrittenLine(made, size, bold, gap)
