"""What a router gets to know of a turn, and what it makes of it: the interface that every router has.

Plain data. Knows neither how features are computed nor how likeness is judged.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.types import Image

OTHER_MODEL = "no adapter: the router knows the questions of another language model only"


@dataclass(frozen=True)
class Query:
    """question: the text; words: its features (adapters.prototypes.question_vector), float32 [hidden].

    image: features of the image in question (adapters.prototypes.image_vector), float32 [1408]; None without.
    picture: the image itself, for a router that looks at more than its features.
    """

    question: str
    words: NDArray[np.float32]
    image: NDArray[np.float32] | None
    picture: Image | None = None


@dataclass(frozen=True)
class Candidate:
    """How well one adapter suits a query; independent of which others are installed.

    image, question: how like the adapter's own they are in the eyes of the router, -1..1; None when it has no such
    examples, the query has no image, or the router does not judge them apart. score: the router's own judgement
    as a logit, above 0 when the adapter suits better than none.
    """

    adapter: str
    score: float
    image: float | None
    question: float | None


@dataclass(frozen=True)
class Choice:
    """adapter: None when none suits. probability: that this choice is right, 0..1, as the router sees it.

    reason: one clause a person can read. candidates: all that could be judged, best first.
    """

    adapter: str | None
    probability: float
    reason: str
    candidates: tuple[Candidate, ...]


class Router(Protocol):
    """Chooses among installed adapters. Belongs to one thread."""

    def choose(self, query: Query, installed: Collection[str]) -> Choice: ...


def decide(candidates: Collection[Candidate], *, chat: bool) -> Choice:
    """The best candidate, if it suits better than none. Their scores, and 0 for none, are logits.

    chat: the question was found to be plain chat, which is said when nobody is chosen.
    """
    ranked = sorted(candidates, key=lambda each: -each.score)
    best = ranked[0]
    logits = np.array([0.0, *(each.score for each in ranked)])
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    if best.score > 0:
        return Choice(best.adapter, float(shares[1]), f"looks like {_described(best)}", tuple(ranked))
    nearest = "the question is plain chat, not about the image" if chat else f"nearest is {_described(best)}"
    return Choice(None, float(shares[0]), f"no adapter: {nearest}", tuple(ranked))


def _described(candidate: Candidate) -> str:
    parts = (("image", candidate.image), ("question", candidate.question))
    figures = ", ".join(f"{what} {value:.2f}" for what, value in parts if value is not None)
    return f"{candidate.adapter}: {figures}" if figures else candidate.adapter
