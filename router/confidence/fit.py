"""Fits the rule of router.confidence.rule to logged answers: logistic regression with offsets for each adapter.

logit = (b + b_a) + (w + w_a) . x for adapter a, with x standardised, bounded to +-FARTHEST, and 0 where it is missing.
Squared penalties on w, w_a and b_a shrink each adapter towards the shared rule. Weights of features that measure
certainty are at least 0, so that certainty never counts against an answer. The penalties are chosen by
cross-validation within the given rows. Rows of one image are always in the same fold.

Newton's method is written out here because the users' app fits with numpy alone (`edge-app eval confidence`), and
because scikit-learn's logistic regression has neither bounds nor penalties that differ by coefficient.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from router.confidence.rule import FARTHEST, FEATURES, AdapterOffset, Evidence, Rule, features, kind

FOLDS = 5
SHARED_PENALTIES = (1.0, 10.0)
OWN_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
INTERCEPT_PENALTY = 3.0
"""Penalty on an adapter's own intercept. Without it, an adapter whose logged answers are all right would be certain
whatever its features say."""

EITHER_WAY = ("tokens", "image")
"""Features whose weights may have either sign. All others measure certainty, and their weights are at least 0."""

LEAST_SCALE = 1e-3
"""A feature with a smaller standard deviation is constant and is not scaled."""

NEWTON_STEPS = 30

Penalties = tuple[float, float]
"""On the shared weights, and on each adapter's offset."""

Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Logged:
    """An answer that is known to be right or wrong.

    image: identifies its image, for the folds. author: who wrote the question; None for the rows of a file.
    """

    evidence: Evidence
    right: bool
    image: str
    author: str | None = None

    @property
    def kind(self) -> str:
        return kind(self.evidence)


def fold_of(image: str, folds: int) -> int:
    """The fold of an image, 0..folds - 1. The same on every machine."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big") % folds


def fit(
    logged: Sequence[Logged], used: Collection[str] = FEATURES, penalties: Penalties | None = None
) -> Rule:
    """A complete rule. Its slack is infinite, so that nothing is hopeless until with_slack has set it.

    used: the features that get weights; the others count nothing. penalties: None to choose them by cross-validation.
    """
    centre, scale = _standard(_raw(logged, used))
    table = _LoggedTable.of(logged, centre, scale, used)
    if penalties is None:
        penalties = _shared_penalties(logged, table)
    found = table.fit(np.arange(len(logged)), penalties)
    return Rule(
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
        intercept=float(found.shared[0]),
        weights=tuple(found.shared[1:].tolist()),
        slack=float("inf"),
        least_tokens=1,
        adapters=table.offsets(found),
    )


def chosen_penalties(logged: Sequence[Logged]) -> Penalties:
    """The penalties that `fit` chooses for these answers."""
    return _shared_penalties(logged, _LoggedTable.of(logged, *_standard(_raw(logged))))


def fit_offsets(logged: Sequence[Logged], rule: Rule) -> dict[str, AdapterOffset]:
    """The offset of each adapter of these rows, for a rule whose shared part stays unchanged."""
    table = _LoggedTable.of(logged, np.asarray(rule.centre), np.asarray(rule.scale))
    fixed = np.asarray([rule.intercept, *rule.weights])

    def train(rows: Rows, penalties: Penalties) -> _Found:
        return table.fit_offsets(rows, fixed, penalties)

    penalties = _chosen(logged, table, train, ((0.0, own) for own in OWN_PENALTIES))
    return table.offsets(train(np.arange(len(logged)), penalties))


_LEAST = np.array([-np.inf, *(-np.inf if name in EITHER_WAY else 0.0 for name in FEATURES)])


@dataclass(frozen=True)
class _Found:
    """Vectors [1 + features], intercept first: the shared one, and the offset of each adapter, by its number."""

    shared: Array
    own: Mapping[int, Array]


@dataclass(frozen=True)
class _LoggedTable:
    """The logged answers as arrays.

    x: [rows, 1 + features], a column of ones and the standardised features, -FARTHEST..FARTHEST, 0 where missing.
    right: [rows], 0 or 1. adapter: [rows], an index into names, generations and policies. names: kinds, as in
    router.confidence.rule.kind.
    """

    x: Array
    right: Array
    adapter: Rows
    names: tuple[str, ...]
    generations: tuple[int | None, ...]
    policies: tuple[str | None, ...]

    @classmethod
    def of(
        cls, logged: Sequence[Logged], centre: Array, scale: Array, used: Collection[str] = FEATURES
    ) -> _LoggedTable:
        standardised = (_raw(logged, used) - centre) / scale
        within = np.clip(np.nan_to_num(standardised, nan=0.0), -FARTHEST, FARTHEST)
        names = tuple(sorted({each.kind for each in logged}))
        return cls(
            np.hstack([np.ones((len(logged), 1)), within]),
            np.array([each.right for each in logged], np.float64),
            np.array([names.index(each.kind) for each in logged], np.int64),
            names,
            tuple(_generation(logged, name) for name in names),
            tuple(_policy(logged, name) for name in names),
        )

    def fit(self, rows: Rows, penalties: Penalties) -> _Found:
        """Fits the shared vector v and each adapter's offset v_a together.

        The variables are v and the sums u_a = v + v_a, because the bounds hold for the sums: [(1 + adapters) * width].
        """
        shared, own = penalties
        present = np.unique(self.adapter[rows])
        adapter, width, count = self.adapter[rows], self.x.shape[1], len(present)
        columns = np.hstack([self.x[rows] * (adapter == each)[:, None] for each in present])
        # A row depends on the u_a of its adapter alone, so the columns of v are 0.
        columns = np.hstack([np.zeros((len(rows), width)), columns])
        away = np.kron(np.hstack([-np.ones((count, 1)), np.eye(count)]), np.eye(width))  # -> v_a = u_a - v
        penalty = np.asarray(away.T @ (np.tile(_own_penalty(own), count)[:, None] * away), np.float64)
        penalty[:width, :width] += np.diag([0.0, *[shared] * len(FEATURES)])
        found = _newton(columns, self.right[rows], penalty, np.tile(_LEAST, 1 + count))
        first, *others = found.reshape(-1, width)
        return _Found(
            first, {int(each): vector - first for each, vector in zip(present, others, strict=True)}
        )

    def fit_offsets(self, rows: Rows, fixed: Array, penalties: Penalties) -> _Found:
        """Fits each adapter's offset by itself, around a given shared vector."""
        own = {}
        for each in np.unique(self.adapter[rows]).tolist():
            mine = rows[self.adapter[rows] == each]
            penalty = np.diag(_own_penalty(penalties[1]))
            own[each] = _newton(self.x[mine], self.right[mine], penalty, _LEAST, fixed) - fixed
        return _Found(fixed, own)

    def loss(self, rows: Rows, found: _Found) -> float:
        nothing = np.zeros_like(found.shared)
        own = np.stack([found.own.get(each, nothing) for each in self.adapter[rows].tolist()])
        return _loss((self.x[rows] * (found.shared + own)).sum(axis=1), self.right[rows])

    def offsets(self, found: _Found) -> dict[str, AdapterOffset]:
        counted = {each: self.right[self.adapter == each] for each in found.own}
        return {
            self.names[each]: AdapterOffset(
                self.generations[each],
                float(vector[0]),
                tuple(vector[1:].tolist()),
                len(counted[each]),
                int(counted[each].sum()),
                self.policies[each],
            )
            for each, vector in found.own.items()
        }


def _generation(logged: Sequence[Logged], kind: str) -> int | None:
    """The generation of the answers of a kind. Raises UserError when there are several."""
    found = {each.evidence.generation for each in logged if each.kind == kind}
    if len(found) > 1:
        raise UserError(
            f"The answers of {kind} are from {len(found)} adapters of that name; answer all rows again."
        )
    return found.pop()


def _policy(logged: Sequence[Logged], kind: str) -> str | None:
    """The policy of the answers of a kind; None where none of them tells. Raises UserError when there are several."""
    found = {each.evidence.policy for each in logged if each.kind == kind} - {None}
    if len(found) > 1:
        raise UserError(
            f"The answers of {kind} were given under {len(found)} versions of its adapter.toml; answer all rows again."
        )
    return next(iter(found), None)


def _shared_penalties(logged: Sequence[Logged], table: _LoggedTable) -> Penalties:
    return _chosen(logged, table, table.fit, itertools.product(SHARED_PENALTIES, OWN_PENALTIES))


def _chosen(
    logged: Sequence[Logged],
    table: _LoggedTable,
    train: Callable[[Rows, Penalties], _Found],
    among: Iterable[Penalties],
) -> Penalties:
    """The penalties with the least loss on rows that were left out of the fit."""
    folds = np.array([fold_of(each.image, FOLDS) for each in logged])
    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    parts = [(kept, left) for kept, left in parts if len(kept) and len(left)]

    def left_out_loss(penalties: Penalties) -> float:
        return sum(table.loss(left, train(kept, penalties)) for kept, left in parts)

    return min(among, key=left_out_loss)


def _raw(logged: Sequence[Logged], used: Collection[str] = FEATURES) -> Array:
    """[rows, features], NaN for what is missing or not used."""
    rows = [[np.nan if value is None else value for value in features(each.evidence)] for each in logged]
    raw = np.array(rows, np.float64).reshape(len(logged), len(FEATURES))
    raw[:, [name not in used for name in FEATURES]] = np.nan
    return raw


def _standard(raw: Array) -> tuple[Array, Array]:
    """Mean and standard deviation [features] over the rows that have the feature; 1 for a constant feature."""
    known = ~np.isnan(raw)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, raw, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (raw - centre) ** 2, 0.0).sum(axis=0) / count)
    return centre, np.where(spread < LEAST_SCALE, 1.0, spread)


def _own_penalty(own: float) -> Array:
    """Penalties on an offset, [1 + features], intercept first."""
    return np.array([INTERCEPT_PENALTY, *[own] * len(FEATURES)])


def _newton(x: Array, right: Array, penalty: Array, least: Array, around: Array | None = None) -> Array:
    """The v >= least that minimises loss(x v, right) + (v - around) . penalty (v - around) / 2.

    x: [rows, n]. right: [rows]. penalty: [n, n]. least, around: [n]; None for 0.

    Projected Newton's method: steps over the coordinates that are not held at their bound, cut off at the bounds, and
    halved while they increase the value.
    """
    centre = np.zeros(x.shape[1]) if around is None else around
    vector = np.maximum(centre, least)

    def value_at(point: Array) -> float:
        return _loss(x @ point, right) + 0.5 * float((point - centre) @ penalty @ (point - centre))

    value = value_at(vector)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(x @ vector, -30, 30)))
        gradient = x.T @ (probability - right) + penalty @ (vector - centre)
        free = ~((vector <= least) & (gradient > 0))
        hessian = (x * (probability * (1 - probability))[:, None]).T @ x + penalty + 1e-6 * np.eye(x.shape[1])
        step = np.zeros_like(vector)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        before, share = value, 1.0
        while share > 1e-6 and (value := value_at(np.maximum(vector - share * step, least))) > before:
            share /= 2
        vector = np.maximum(vector - share * step, least)
        if before - value < 1e-7:
            break
    return vector


def _loss(logits: Array, right: Array) -> float:
    """Negative log-likelihood, summed over the rows."""
    return float(np.logaddexp(0.0, np.where(right > 0.5, -logits, logits)).sum())
