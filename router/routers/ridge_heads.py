"""A small learned head for each adapter: its images against ordinary ones, fitted in milliseconds, once.

Ridge regression over the tower's frozen features, to +1 for the images of the adapter and -1 for the bundled
ordinary ones, in closed form. What each example would get from a head fitted without it (leaving one out, which
ridge gives for free) says where the border between the two lies. A head sees its own adapter's examples and the
background alone, never another adapter, so an installation changes no other's score. The question adds a little,
by likeness. Whether it is plain chat is left to a Subject. Knows nothing of adapters' weights.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide
from router.routers.background import Asked, Background, General, centred, general, likeness
from router.routers.prototype_cache import Registry

RIDGE = 0.005
"""Penalty beside features whose mean square is below 1 / 1408 each."""

LEAST_SPREAD = 0.05
"""Of what examples get: a handful that are near copies of one another say little of how others vary."""

LENIENCE = 0.1
"""How far the border is moved towards ordinary images, in units of the distance between the two means: examples
left out do worse than new ones, with so few others."""

QUESTION_WEIGHT = 0.2
"""Of a question's likeness, in the same units."""

QUESTION_ALONE = 0.2
"""How much nearer to an adapter's questions than to ordinary ones a question must be, when it is all there is."""

SHARPNESS = 15.0
"""From these units to logarithms of odds."""


class Subject(Protocol):
    """Tells whether a question is about the image it is asked with."""

    def is_chat(self, query: Query, asked: Asked, own: float) -> bool:
        """asked: the query's question. own: its likeness to those of the adapter that the image points to, -1..1."""
        ...


@dataclass(frozen=True)
class Head:
    """weight: float32 [1408], over centred features; None for an adapter without images. The measure is above 0
    for what is rather the adapter's, and about 0.5 for a typical one. question: centred, [m, hidden]."""

    weight: NDArray[np.float32] | None
    bias: float
    question: NDArray[np.float32]

    def measure(self, image: NDArray[np.float32]) -> float:
        """image: centred."""
        assert self.weight is not None, "an adapter without images measures none"
        return float(self.weight @ image) + self.bias


class HeadRouter:
    """A router over the adapters in one directory; a head is fitted when its adapter is first seen or changes."""

    def __init__(self, directory: Path, subject: Subject, background: General | None = None) -> None:
        self._background = background or general()
        self._subject = subject
        self._registry = Registry(directory, PROTOTYPES_FILE, self._fit)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without prototypes are never chosen."""
        if not self._background.fits(query.words):
            return OTHER_MODEL
        heads = self._registry.of(installed)
        able = {n: head for n, head in heads.items() if query.image is not None or head.weight is None}
        if not able:
            return self._registry.no_candidate(installed)
        asked = self._background.held_against(query)
        image = None if query.image is None else self._background.image.centred(query.image)
        candidates = [_judge(name, head, image, asked) for name, head in able.items()]
        best = max(candidates, key=lambda each: each.score)
        chat = (
            image is not None
            and best.score > 0
            and best.image is not None
            and self._subject.is_chat(query, asked, -1.0 if best.question is None else best.question)
        )
        if chat:  # "Thank you" under an image is no question about it, whatever the image shows
            candidates = [_as_chat(each) for each in candidates]
        return decide(candidates, chat=chat)

    def _fit(self, path: Path) -> Head:
        image, question = centred(path, read_prototypes(path), self._background)
        if not len(image):
            return Head(None, 0.0, question)
        return Head(*fit_image_head(image, self._background.image), question)


def fit_image_head(own: NDArray[np.float32], ordinary: Background) -> tuple[NDArray[np.float32], float]:
    """Weight [features] and bias. own: centred unit vectors, [k, features].

    Both sides count the same, however many there are. In the dual form, over products of examples, of which those
    among ordinary ones are always the same. Leaving one out: Allen's PRESS residual, (y - f) / (1 - h), where h is
    what an example contributes to its own value.
    """
    sides = len(own), len(ordinary.examples)
    share = np.repeat(np.array([0.5 / sides[0], 0.5 / sides[1]], np.float32), sides)
    wanted = np.repeat(np.array([1, -1], np.float32), sides)  # its mean, so weighted, is 0
    across = own @ ordinary.examples.T
    products = np.block([[own @ own.T, across], [across.T, ordinary.products]])
    means = products @ share
    products += share @ means - means - means[:, None]  # those of the inputs without their mean
    root = np.sqrt(share)
    scaled = products * root * root[:, None]
    inverse = np.linalg.inv(scaled + np.float32(RIDGE) * np.eye(len(scaled), dtype=np.float32))
    dual = root * (inverse @ (root * wanted))
    values = products @ dual
    leverage = np.minimum((scaled * inverse).sum(axis=1) + share, 1 - 1e-6)
    left_out = wanted - (wanted - values) / (1 - leverage)
    if len(own) == 1:  # left out, it leaves nothing to tell it from
        left_out[0] = values[0]
    ours, theirs = left_out[: len(own)], left_out[len(own) :]
    spread = ours.std() + LEAST_SPREAD, theirs.std() + LEAST_SPREAD
    border = (ours.mean() * spread[1] + theirs.mean() * spread[0]) / sum(spread)
    distance = max(ours.mean() - theirs.mean(), LEAST_SPREAD)
    dual -= share * dual.sum()  # so that it applies to inputs with their mean
    weight = dual[: len(own)] @ own + dual[len(own) :] @ ordinary.examples
    bias = -(means @ dual) - border
    return (weight / distance).astype(np.float32), float(bias / distance) + LENIENCE


def _judge(name: str, head: Head, image: NDArray[np.float32] | None, question: Asked) -> Candidate:
    own = float(likeness(head.question @ question.vector, 1)) if len(head.question) else None
    about = 0.0 if own is None else question.nearer(own)
    if image is None or head.weight is None:
        return Candidate(name, SHARPNESS * (about - QUESTION_ALONE), None, own)
    seen = head.measure(image)
    score = SHARPNESS * (seen + QUESTION_WEIGHT * about)
    return Candidate(name, score, float(np.clip(seen, -1, 1)), own)


def _as_chat(candidate: Candidate) -> Candidate:
    """Against an adapter for images as much as the image speaks for it; the others keep their score."""
    if candidate.image is None:
        return candidate
    return Candidate(candidate.adapter, -abs(candidate.score), candidate.image, candidate.question)
