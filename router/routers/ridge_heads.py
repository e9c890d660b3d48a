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
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, read_prototypes
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from models.core.errors import UserError
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide, likeness_reason
from router.routers.adapter_file_cache import AdapterFileCache
from router.routers.background import Background, FeatureBackground, bundled_background, centre_prototypes
from router.scope import AdapterScope, is_follow_up
from router.types import Reason

RIDGE = 0.002
"""Penalty on the squared weights. The inputs are unit vectors, so the mean square of one of the 1408 features is at
most 1 / 1408. Chosen by drawn pictures of kinds that were left out of the fit."""

INTERCEPT = 100.0
"""Added to every product of examples. It gives a head a bias that is hardly penalised."""

LEAST_SPREAD = 0.05
"""Least standard deviation of a side's leave-one-out values. A few examples that are nearly copies of one another
would underestimate it."""

SHARPNESS = 15.0
"""Multiplier that converts a head's value to log-odds."""

RIVAL = 0.15
"""An adapter is passed over when the image suits another one by this much more. Otherwise a question that is none of
the other's tasks would go to an adapter for images that look a little alike."""

FOLLOWED = 1.0
"""The least log-odds of the scope of an adapter that answered the turn which a follow-up relies on."""


@dataclass(frozen=True)
class AdapterHead:
    """The fitted head of one adapter.

    weight: float32 [1408], over centred features; None for an adapter without images. any_page: see
        adapters.store.manifest.AdapterManifest.

    `value` is above 0 for an image that suits the adapter, and about 0.5 for a typical one.
    """

    weight: NDArray[np.float32] | None
    bias: float
    any_page: bool = False

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
        self._fitting = HeadFit(self._background.image)
        self._fitting_any_page = HeadFit(self._background.no_pages)
        self._heads = AdapterFileCache(directory, PROTOTYPES_FILE, self._fit)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without example questions or images are never chosen.

        One for any page is chosen only when no more special one suits.
        """
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
        if not seen:
            return decide(candidates)
        nearest = max(seen, key=lambda each: (not heads[each.adapter].any_page, _likeness(each)))
        contenders = [
            each
            for each in candidates
            if each.image is None
            or heads[each.adapter].any_page
            or _likeness(nearest) - _likeness(each) < RIVAL
        ]
        special = [each for each in contenders if each.score > 0 and not heads[each.adapter].any_page]
        return decide(candidates, likeness_reason("question_out_of_scope", nearest), special or contenders)

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
        any_page = is_for_any_page(path.with_name(MANIFEST_FILE))
        fitting = self._fitting_any_page if any_page else self._fitting
        return AdapterHead(*fitting.head(image), any_page)


def is_for_any_page(manifest: Path) -> bool:
    """Whether an adapter says so. False for a manifest that is missing or damaged."""
    try:
        data = manifest.read_bytes()
        return b"any_page" in data and parse_manifest(data, manifest).any_page
    except (OSError, UserError):
        return False


class HeadFit:
    """Fits heads against one background, whose part of the equations is solved once.

    Weighted ridge regression in the dual form, over products of examples, because there are fewer examples than
    features. Each side has half of the weight, whatever its number; the ordinary images have the background's shares of
    their half. Leave-one-out values are Allen's PRESS.
    """

    def __init__(self, ordinary: FeatureBackground) -> None:
        self._ordinary = ordinary
        self._root = np.sqrt(ordinary.share.astype(np.float64) / 2)  # [n]

    @cached_property
    def _inverse(self) -> NDArray[np.float64]:
        """The inverse of the equations of the ordinary images alone, [n, n]."""
        examples = self._ordinary.examples
        scaled = (examples @ examples.T + INTERCEPT) * self._root * self._root[:, None]
        return np.asarray(np.linalg.inv(scaled + RIDGE * np.eye(len(scaled))))

    def head(self, own: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """The weight, float32 [features], and the bias of a head.

        own: the adapter's images, centred unit vectors, [k, features].

        With n ordinary images and S = diag(sqrt(share)), the solution is (S K S + RIDGE I)^-1 S y for the targets y = 1
        and -1. The matrix is inverted by blocks (Schur complement of the ordinary images' block).
        """
        ordinary, roots = self._ordinary.examples, (np.full(len(own), (0.5 / len(own)) ** 0.5), self._root)
        mine = (own @ own.T + INTERCEPT) * roots[0] * roots[0][:, None] + RIDGE * np.eye(len(own))  # [k, k]
        across = (own @ ordinary.T + INTERCEPT) * roots[1] * roots[0][:, None]  # [k, n]
        carried = self._inverse @ across.T  # [n, k]
        block = np.linalg.inv(mine - across @ carried)  # [k, k], of the whole inverse
        ours = block @ (roots[0] + carried.T @ roots[1])  # the solution, first for own images: [k]
        theirs = -self._inverse @ roots[1] - carried @ ours  # [n]
        diagonals = np.diag(block), np.diag(self._inverse) + ((carried @ block) * carried).sum(axis=1)
        # y - f(without i) = solution / (sqrt(share) * diagonal of the inverse)
        left_out = 1 - ours / (roots[0] * diagonals[0]), -1 - theirs / (roots[1] * diagonals[1])
        if len(own) == 1:  # without its only example there is nothing to fit; its fitted value is taken
            left_out = 1 - RIDGE * ours / roots[0], left_out[1]
        border, distance = _border(*left_out, self._ordinary.share)
        dual = roots[0] * ours, roots[1] * theirs
        weight = dual[0] @ own + dual[1] @ ordinary  # [features]
        bias = INTERCEPT * (dual[0].sum() + dual[1].sum()) - border
        return (weight / distance).astype(np.float32), float(bias / distance)


def _border(
    own: NDArray[np.float64], ordinary: NDArray[np.float64], share: NDArray[np.float32]
) -> tuple[float, float]:
    """Where the border lies between the leave-one-out values of both sides, and the distance of their means.

    share: weights of the ordinary values, which sum to 1. The border is nearer to the side that varies less.
    """
    mean = float(share @ ordinary)
    spread = float(own.std()) + LEAST_SPREAD, float(np.sqrt(share @ (ordinary - mean) ** 2)) + LEAST_SPREAD
    border = (float(own.mean()) * spread[1] + mean * spread[0]) / sum(spread)
    return border, max(float(own.mean()) - mean, LEAST_SPREAD)


def _likeness(candidate: Candidate) -> float:
    return -1.0 if candidate.image is None else candidate.image


def _candidate(name: str, head: AdapterHead, image: NDArray[np.float32] | None, scope: float) -> Candidate:
    """Scores one adapter.

    image: centred. scope: log-odds that the question is one of the adapter's tasks.
    """
    asked = 1 / (1 + math.exp(-scope))
    if image is None or head.weight is None:
        return Candidate(name, scope, None, asked)
    seen = head.value(image)
    return Candidate(name, min(SHARPNESS * seen, scope), float(np.clip(seen, -1, 1)), asked)
