"""The choice of an adapter: what a router reads, what it returns, and the choice when the user names an adapter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.spec import checked_spec
from models.core.types import Image
from router.types import Reason


@dataclass(frozen=True)
class Query:
    """A question and its image, as features.

    question: the text. words: its features (adapters.prototypes.question_vector), float32 [hidden].
    image: features of the image that the question is about (adapters.prototypes.image_vector), float32 [1408];
        None without an image. picture: that image, for a router that reads more than its features.
    previous_question: the last answered question of the conversation about the same image; None when there is none.
    previous_adapter: the adapter that answered it; None for the plain model and for the cloud.
    """

    question: str
    words: NDArray[np.float32]
    image: NDArray[np.float32] | None
    picture: Image | None = None
    previous_question: str | None = None
    previous_adapter: str | None = None


@dataclass(frozen=True)
class Candidate:
    """How well one adapter suits a query, independent of the other installed adapters.

    score: the router's score as a logit; above 0 when the adapter suits better than no adapter.
    image, question: similarity to the adapter's own images and questions, -1..1; None when the adapter has no such
        examples, the query has no image, or the router does not compute them. HeadRouter gives the value of its head
        as `image`, and as `question` the probability that the question is one of the adapter's tasks.
    """

    adapter: str
    score: float
    image: float | None
    question: float | None


@dataclass(frozen=True)
class Choice:
    """The adapter for a question and why.

    adapter: a name or a sum of adapters (adapters.spec); None for the plain model.
    probability: the router's probability that this choice is right, 0..1; None when no router was asked.
    candidates: every adapter that could be scored, best first; empty when no router was asked.
    """

    adapter: str | None
    probability: float | None
    reason: Reason
    candidates: tuple[Candidate, ...] = ()


OTHER_MODEL = Choice(None, 1.0, Reason("other_language_model"))
"""The choice when the question's features are of a language model that the router was not fitted for."""


class Router(Protocol):
    """Chooses among installed adapters. Used from one thread."""

    def choose(self, query: Query, installed: Collection[str]) -> Choice: ...


def choose_as_asked(adapter: str, installed: Collection[str]) -> Choice:
    """The choice that needs no router.

    adapter: an installed name, a sum of names (adapters.spec), "none", or "auto" when nothing is installed.
    Raises UserError when a name is not installed.
    """
    if adapter == "auto":
        return Choice(None, None, Reason("no_adapter_installed"))
    if adapter == "none":
        return Choice(None, None, Reason("no_adapter_asked"))
    named = str(checked_spec(adapter, installed))
    return Choice(named, None, Reason("adapter_asked", {"adapter": named}))


def decide(
    candidates: Collection[Candidate],
    otherwise: Reason | None = None,
    contenders: Collection[Candidate] | None = None,
) -> Choice:
    """The contender with the highest score if that is above 0, otherwise no adapter.

    The probability is the softmax over the scores of the contenders and 0 for no adapter.

    otherwise: the reason when no adapter is chosen; None gives the likeness to the best contender.
    contenders: the candidates that may be chosen, at least one; None for all.
    """
    able = sorted(candidates if contenders is None else contenders, key=lambda each: -each.score)
    best = able[0]
    logits = np.array([0.0, *(each.score for each in able)])  # [1 + contenders]
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    ranked = tuple(sorted(candidates, key=lambda each: -each.score))
    if best.score > 0:
        return Choice(best.adapter, float(shares[1]), likeness_reason("adapter_suits", best), ranked)
    return Choice(None, float(shares[0]), otherwise or likeness_reason("no_adapter_suits", best), ranked)


def likeness_reason(kind: str, candidate: Candidate) -> Reason:
    """A reason with the candidate's name and likeness."""
    return Reason(
        kind, {"adapter": candidate.adapter, "image": candidate.image, "question": candidate.question}
    )
