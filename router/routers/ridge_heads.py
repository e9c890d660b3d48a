"""A router with one linear head for each adapter, fitted in milliseconds when the adapter is first seen.

Ridge regression in closed form over the vision tower's frozen features: +1 for the adapter's images, -1 for the bundled
ordinary ones. The border between the two is placed by leave-one-out values, which ridge regression gives without
further fits. A head reads the examples of its own adapter and the background only, so that installing an adapter
changes no other score. The question's likeness adds a little to the score. When a ChatDetector finds plain chat, the
scores of adapters for images become negative.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide
from router.routers.adapter_file_cache import AdapterFileCache
from router.routers.background import (
    Background,
    FeatureBackground,
    QuestionLikeness,
    bundled_background,
    centre_prototypes,
    likeness,
)
from router.routers.chat_detection import ChatDetector

RIDGE = 0.005
"""Penalty on the squared weights. The inputs are unit vectors, so the mean square of one of the 1408 features is at
most 1 / 1408."""

LEAST_SPREAD = 0.05
"""Least standard deviation of a side's leave-one-out values. A few examples that are nearly copies of one another
would underestimate it."""

LENIENCE = 0.1
"""How far the border is moved towards ordinary images, in units of the distance between the two sides' means.
Leave-one-out values are lower than those of new images where there are few examples."""

QUESTION_WEIGHT = 0.2
"""Weight of the question's lead beside the head's value; both are about 1 or less."""

QUESTION_ALONE = 0.2
"""The lead that a question needs when there is no image to judge by."""

SHARPNESS = 15.0
"""Multiplier that converts a head's value to log-odds."""


@dataclass(frozen=True)
class AdapterHead:
    """The fitted head of one adapter.

    weight: float32 [1408], over centred features; None for an adapter without images.

    `value` is above 0 for an image that suits the adapter, and about 0.5 for a typical one.
    question: the adapter's questions, centred unit vectors, float32 [m, hidden].
    """

    weight: NDArray[np.float32] | None
    bias: float
    question: NDArray[np.float32]

    def value(self, image: NDArray[np.float32]) -> float:
        """The value of the head for an image.

        image: centred, float32 [1408].
        """
        assert self.weight is not None, "an adapter without images has no weight"
        return float(self.weight @ image) + self.bias


class HeadRouter:
    """A router over the adapters in one directory. A head is fitted again when its adapter changes."""

    def __init__(self, directory: Path, detector: ChatDetector, background: Background | None = None) -> None:
        self._background = background or bundled_background()
        self._detector = detector
        self._heads = AdapterFileCache(directory, PROTOTYPES_FILE, self._fit)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without prototypes are never chosen."""
        if not self._background.fits(query):
            return OTHER_MODEL
        heads = self._heads.of(installed)
        able = {n: head for n, head in heads.items() if query.image is not None or head.weight is None}
        if not able:
            return self._heads.no_candidate(installed)
        question = self._background.compare(query)
        image = None if query.image is None else self._background.image.centred(query.image)
        candidates = [_candidate(name, head, image, question) for name, head in able.items()]
        best = max(candidates, key=lambda each: each.score)
        chat = (
            image is not None
            and best.score > 0
            and best.image is not None
            and self._detector.is_chat(query, question, -1.0 if best.question is None else best.question)
        )
        if chat:  # "Thank you" under an image is not about it, whatever the image shows
            candidates = [_as_chat(each) for each in candidates]
        return decide(candidates, chat=chat)

    def _fit(self, path: Path) -> AdapterHead:
        image, question = centre_prototypes(path, read_prototypes(path), self._background)
        if not len(image):
            return AdapterHead(None, 0.0, question)
        return AdapterHead(*fit_image_head(image, self._background.image), question)


def fit_image_head(
    own: NDArray[np.float32], ordinary: FeatureBackground
) -> tuple[NDArray[np.float32], float]:
    """The weight, float32 [features], and the bias of a head.

    own: the adapter's images, centred unit vectors, [k, features]. With n ordinary images, N = k + n.

    The fit is in the dual form, over products of examples, because N is below the 1408 features and the [n, n]
    products of ordinary images are the same for every adapter. Each side has half of the weight, whatever its number.
    Leave-one-out values are Allen's PRESS: y - (y - f) / (1 - h), where h is the leverage of an example.
    """
    sides = len(own), len(ordinary.examples)
    share = np.repeat(np.array([0.5 / sides[0], 0.5 / sides[1]], np.float32), sides)  # [N], sums to 1
    wanted = np.repeat(np.array([1, -1], np.float32), sides)  # [N]; its weighted mean is 0, so no intercept
    across = own @ ordinary.examples.T  # [k, n]
    products = np.block([[own @ own.T, across], [across.T, ordinary.products]])  # [N, N], -1..1
    means = products @ share  # [N]: product of each example with the weighted mean
    products += share @ means - means - means[:, None]  # products of the examples minus the weighted mean
    # Weighted ridge: (S K S + RIDGE I)^-1 S y with S = diag(sqrt(share)), then S again for the dual coefficients.
    root = np.sqrt(share)
    scaled = products * root * root[:, None]
    inverse = np.linalg.inv(scaled + np.float32(RIDGE) * np.eye(len(scaled), dtype=np.float32))
    dual = root * (inverse @ (root * wanted))  # [N]
    values = products @ dual  # [N], fitted, about -1..1
    # [N]: diagonal of the hat matrix, with the mean
    leverage = np.minimum((scaled * inverse).sum(axis=1) + share, 1 - 1e-6)
    left_out = wanted - (wanted - values) / (1 - leverage)
    if len(own) == 1:  # without its only example there is nothing to fit
        left_out[0] = values[0]
    ours, theirs = left_out[: len(own)], left_out[len(own) :]
    spread = ours.std() + LEAST_SPREAD, theirs.std() + LEAST_SPREAD
    # The border is nearer to the mean of the side that varies less.
    border = (ours.mean() * spread[1] + theirs.mean() * spread[0]) / sum(spread)
    distance = max(ours.mean() - theirs.mean(), LEAST_SPREAD)
    # The weight then applies to vectors from which the weighted mean was not subtracted.
    dual -= share * dual.sum()
    weight = dual[: len(own)] @ own + dual[len(own) :] @ ordinary.examples  # [features]
    bias = -(means @ dual) - border
    return (weight / distance).astype(np.float32), float(bias / distance) + LENIENCE


def _candidate(
    name: str, head: AdapterHead, image: NDArray[np.float32] | None, question: QuestionLikeness
) -> Candidate:
    """Scores one adapter.

    image: centred.
    """
    own = float(likeness(head.question @ question.vector, 1)) if len(head.question) else None
    lead = 0.0 if own is None else question.lead(own)
    if image is None or head.weight is None:
        return Candidate(name, SHARPNESS * (lead - QUESTION_ALONE), None, own)
    seen = head.value(image)
    score = SHARPNESS * (seen + QUESTION_WEIGHT * lead)
    return Candidate(name, score, float(np.clip(seen, -1, 1)), own)


def _as_chat(candidate: Candidate) -> Candidate:
    """The score of an adapter for images becomes negative; that of an adapter for questions alone stays."""
    if candidate.image is None:
        return candidate
    return Candidate(candidate.adapter, -abs(candidate.score), candidate.image, candidate.question)
