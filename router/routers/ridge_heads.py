"""A router with one linear head for each adapter, fitted in milliseconds when the adapter is first seen.

Ridge regression in closed form over the vision tower's frozen features: +1 for the adapter's images, -1 for the
bundled ordinary photos and drawn pictures. The border between the two is placed by leave-one-out values, which ridge
regression gives without further fits. A head reads the examples of its own adapter and the background only, so that
installing an adapter changes no other score. An adapter suits when its head and the scope of its tasks
(router/scope.py) both say so: the lower of the two decides.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide, likeness_reason
from router.routers.adapter_file_cache import AdapterFileCache
from router.routers.background import Background, FeatureBackground, bundled_background, centre_prototypes
from router.scope import AdapterScope, is_follow_up
from router.types import Reason

RIDGE = 0.002
"""Penalty on the squared weights. The inputs are unit vectors, so the mean square of one of the 1408 features is at
most 1 / 1408. Chosen by drawn pictures of kinds that were left out of the fit."""

LEAST_SPREAD = 0.05
"""Least standard deviation of a side's leave-one-out values. A few examples that are nearly copies of one another
would underestimate it."""

SHARPNESS = 15.0
"""Multiplier that converts a head's value to log-odds."""

FOLLOWED = 1.0
"""The least log-odds of the scope of an adapter that answered the turn which a follow-up relies on."""


@dataclass(frozen=True)
class AdapterHead:
    """The fitted head of one adapter.

    weight: float32 [1408], over centred features; None for an adapter without images.

    `value` is above 0 for an image that suits the adapter, and about 0.5 for a typical one.
    """

    weight: NDArray[np.float32] | None
    bias: float

    def value(self, image: NDArray[np.float32]) -> float:
        """The value of the head for an image.

        image: centred, float32 [1408].
        """
        assert self.weight is not None, "an adapter without images has no weight"
        return float(self.weight @ image) + self.bias


class HeadRouter:
    """A router over the adapters in one directory. A head is fitted again when its adapter changes."""

    def __init__(self, directory: Path, scope: AdapterScope, background: Background | None = None) -> None:
        self._background = background or bundled_background()
        self._scope = scope
        self._heads = AdapterFileCache(directory, PROTOTYPES_FILE, self._fit)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without example questions or images are never chosen."""
        if not self._background.fits(query):
            return OTHER_MODEL
        heads = self._heads.of(installed)
        able = {n: head for n, head in heads.items() if query.image is not None or head.weight is None}
        image = None if query.image is None else self._background.image.centred(query.image)
        candidates = [
            _candidate(name, head, image, scope)
            for name, head in able.items()
            if (scope := self._scope_of(name, query)) is not None
        ]
        if not able:
            return self._heads.no_candidate(installed)
        if not candidates:
            return Choice(None, 1.0, Reason("adapters_without_examples"))
        seen = [each for each in candidates if each.image is not None and each.image > 0]
        nearest = max(seen, key=lambda each: each.image or 0.0, default=None)
        return decide(
            candidates, likeness_reason("question_out_of_scope", nearest) if nearest is not None else None
        )

    def _scope_of(self, name: str, query: Query) -> float | None:
        """Log-odds that the question is a task of the adapter. A follow-up stays with the adapter it follows."""
        scope = self._scope.of_adapter(query.question, name)
        if scope is not None and name == query.previous_adapter and is_follow_up(query.question):
            return max(scope, FOLLOWED)
        return scope

    def _fit(self, path: Path) -> AdapterHead:
        image, _ = centre_prototypes(path, read_prototypes(path), self._background)
        if not len(image):
            return AdapterHead(None, 0.0)
        return AdapterHead(*fit_image_head(image, self._background.image))


def fit_image_head(
    own: NDArray[np.float32], ordinary: FeatureBackground
) -> tuple[NDArray[np.float32], float]:
    """The weight, float32 [features], and the bias of a head.

    own: the adapter's images, centred unit vectors, [k, features]. With n ordinary images, N = k + n.

    The fit is in the dual form, over products of examples, because N is below the 1408 features and the [n, n]
    products of ordinary images are the same for every adapter. Each side has half of the weight, whatever its number;
    the ordinary ones have the background's shares of theirs.
    Leave-one-out values are Allen's PRESS: y - (y - f) / (1 - h), where h is the leverage of an example.
    """
    sides = len(own), len(ordinary.examples)
    share = (
        np.concatenate([np.full(len(own), 1 / len(own), np.float32), ordinary.share]) / 2
    )  # [N], sums to 1
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
    their_mean = ordinary.share @ theirs
    their_spread = np.sqrt(ordinary.share @ (theirs - their_mean) ** 2)
    spread = ours.std() + LEAST_SPREAD, their_spread + LEAST_SPREAD
    # The border is nearer to the mean of the side that varies less.
    border = (ours.mean() * spread[1] + their_mean * spread[0]) / sum(spread)
    distance = max(ours.mean() - their_mean, LEAST_SPREAD)
    # The weight then applies to vectors from which the weighted mean was not subtracted.
    dual -= share * dual.sum()
    weight = dual[: len(own)] @ own + dual[len(own) :] @ ordinary.examples  # [features]
    bias = -(means @ dual) - border
    return (weight / distance).astype(np.float32), float(bias / distance)


def _candidate(name: str, head: AdapterHead, image: NDArray[np.float32] | None, scope: float) -> Candidate:
    """Scores one adapter.

    image: centred. scope: log-odds that the question is one of the adapter's tasks.
    """
    asked = 1 / (1 + math.exp(-scope))
    if image is None or head.weight is None:
        return Candidate(name, scope, None, asked)
    seen = head.value(image)
    return Candidate(name, min(SHARPNESS * seen, scope), float(np.clip(seen, -1, 1)), asked)
