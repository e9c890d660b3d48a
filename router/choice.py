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
