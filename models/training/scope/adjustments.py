"""Adjusts the log-odds of scope for each kind of image that the app knows: a linear rule and a border.

    python -m models.training.scope.adjustments --questions rows.jsonl --logits WITHOUT_A.json \\
        --logits WITHOUT_B.json --out router/bundled/scope_adjustments.safetensors --left-out left_out.json

The logits come from `python -m models.training.scope.train --leave-out AUTHOR --logits FILE`, for all authors of the
rows. The rule of a kind is a logistic regression on the mean output of the encoder's lower layers, which no training
changes. It learns from the kind's own questions only. The border of a kind is the value of logit and rule from which
its questions count as in scope. It is placed where the fewest questions are on the wrong side, and drawn towards the
border of all kinds, because a kind has few questions.

The shares that are printed, and the log-odds of `--left-out`, have rules and borders that were made without the author
of the question. Those of `--out` are made with all authors.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.question_encoder.encoder import Floats, QuestionEncoder
from models.training.scope.data import GENERAL_KINDS, ImageKind, ScopeQuestion, read_kinds, rows_by_kind

GENERAL = "general"
"""The name under which the kinds of the plain model are adjusted: they share their tasks."""

SHARE = 0.5
"""Factor on the value of a rule before it is added to a logit."""

PENALTY = 0.3
"""Half of it times the squared weights is added to the sum of losses of a rule."""

SPREAD = 4.0
"""Factor on the inputs of a rule, which are unit vectors less their mean."""

INTERCEPT = 30.0
"""Input whose weight is the bias of a rule. The larger it is, the less the bias is penalised."""

IN_WEIGHT = 1.25
"""A question in scope that is refused counts as much as this many of the others that are taken."""

BLUR = 1.0
"""Standard deviation of the noise that is assumed on a logit, so that no single question decides."""

PULL = 0.02
"""Cost of the squared distance from the border of all kinds, in shares of wrong questions."""

GRID = np.arange(-3, 4.01, 0.05)
"""Values that a border may have."""

Judged = Sequence[tuple[float, ScopeQuestion]]
"""Logits with their questions."""

ByKind = Mapping[str, Judged]


@dataclass(frozen=True)
class LinearRule:
    """weight: float32 [hidden], on the mean output of the lower layers."""

    weight: Floats
    bias: float

    def value(self, vector: Floats) -> float:
        return float(self.weight @ vector) + self.bias


def fit_rule(vectors: Floats, inside: Sequence[bool], mean: Floats) -> LinearRule:
    """Logistic regression with a ridge penalty, by Newton's method.

    vectors: [n, hidden]. inside: whether each is in scope. mean: [hidden], subtracted from the vectors. With the inputs
    X, probabilities p and W = p (1 - p), a step solves (X^T W X + PENALTY I) d = X^T (t - p) - PENALTY w.
    """
    inputs = np.concatenate([(vectors - mean) * SPREAD, np.full((len(vectors), 1), INTERCEPT)], 1).astype(
        np.float64
    )
    target = np.array(inside, np.float64)
    weights: NDArray[np.float64] = np.zeros(inputs.shape[1])
    for _ in range(25):
        share = 1 / (1 + np.exp(-inputs @ weights))
        slope = np.maximum(share * (1 - share), 1e-6)
        curvature = (inputs * slope[:, None]).T @ inputs + PENALTY * np.eye(len(weights))
        step = np.linalg.solve(curvature, inputs.T @ (target - share) - PENALTY * weights)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    weight = (weights[:-1] * SPREAD).astype(np.float32)
    return LinearRule(weight, float(weights[-1] * INTERCEPT - weight @ mean))


def learn(
    kinds: Sequence[ImageKind],
    name: str,
    vectors: Mapping[str, Floats],
    mean: Floats,
    without: frozenset[str],
) -> LinearRule:
    """The rule of the kinds that are adjusted under a name. without: authors whose questions are left out."""
    known: dict[str, bool] = {}
    for kind in kinds:
        if shared_name(kind.name) == name:
            known |= {q.text: q.scope == "in" for q in kind.questions if q.author not in without}
            known |= {example: True for own in kind.tasks.values() for example in own}
    return fit_rule(np.stack([vectors[text] for text in known]), list(known.values()), mean)


def share_below(border: NDArray[np.float64], logits: Sequence[float]) -> NDArray[np.float64]:
    """The share of logits that are below each border [grid], each logit blurred by BLUR."""
    distance = (border[:, None] - np.array(logits)) / BLUR
    return np.asarray(np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))(distance).mean(1))


def cost(judged: Judged) -> NDArray[np.float64]:
    """The weighted shares of wrong questions for each border in GRID, in scope and out of it."""
    inside = [logit for logit, question in judged if question.scope == "in"]
    outside = [logit for logit, question in judged if question.scope == "out"]
    missed = IN_WEIGHT * share_below(GRID, inside) if inside else np.zeros(len(GRID))
    return missed + (1 - share_below(GRID, outside) if outside else 0)


def place(judged: ByKind) -> dict[str, float]:
    """The border of each kind."""
    costs = {kind: cost(own) for kind, own in judged.items() if own}
    common = GRID[np.argmin(sum(costs.values()))]
    return {
        kind: round(float(GRID[np.argmin(own + PULL * (GRID - common) ** 2)]), 2)
        for kind, own in costs.items()
    }


def shared_name(kind: str) -> str:
    """The name under which a kind is adjusted."""
    return GENERAL if kind in GENERAL_KINDS else kind


def grouped(judged: ByKind, without: str | None = None) -> dict[str, list[tuple[float, ScopeQuestion]]]:
    """The questions by the name of their adjustment. without: an author who is left out."""
    found: dict[str, list[tuple[float, ScopeQuestion]]] = {}
    for kind, own in judged.items():
        kept = [(logit, question) for logit, question in own if question.author != without]
        found.setdefault(shared_name(kind), []).extend(kept)
    return found


class Adjuster:
    """Makes rules and borders.

    judged: left-out logits by kind. kinds: with all questions. vectors: of all texts, by text; unit length.
    """

    def __init__(self, judged: ByKind, kinds: Sequence[ImageKind], vectors: Mapping[str, Floats]) -> None:
        self._judged = judged
        self._kinds = kinds
        self._vectors = vectors
        self._mean = np.mean(np.stack(list(vectors.values())), axis=0)
        self._rules: dict[tuple[str, frozenset[str]], LinearRule] = {}

    def rule(self, name: str, *without: str) -> LinearRule:
        """The rule under a name, learned without some authors."""
        key = name, frozenset(without)
        if key not in self._rules:
            self._rules[key] = learn(self._kinds, name, self._vectors, self._mean, key[1])
        return self._rules[key]

    def scored(self, *without: str) -> dict[str, list[tuple[float, ScopeQuestion]]]:
        """Logits with the values of rules that were learned without the question's author and without others."""
        return {
            kind: [
                (
                    logit
                    + SHARE * self.rule(shared_name(kind), q.author, *without).value(self._vectors[q.text]),
                    q,
                )
                for logit, q in own
            ]
            for kind, own in self._judged.items()
        }

    def left_out(self) -> dict[str, list[tuple[float, ScopeQuestion]]]:
        """By kind, the log-odds of the questions by rules and borders that were made without their author."""
        authors = sorted({question.author for own in self._judged.values() for _, question in own})
        found: dict[str, list[tuple[float, ScopeQuestion]]] = {kind: [] for kind in self._judged}
        for author in authors:
            scored = self.scored(author)
            borders = place(grouped(scored, author))
            for kind, own in scored.items():
                border = borders[shared_name(kind)]
                found[kind] += [(value - border, q) for value, q in own if q.author == author]
        return found

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """NAME.weight, float32 [hidden], and NAME.border, float32 []: what `router.scope` reads."""
        found: dict[str, NDArray[np.generic]] = {}
        for name, border in place(grouped(self.scored())).items():
            rule = self.rule(name)
            found[f"{name}.weight"] = (SHARE * rule.weight).astype(np.float32)
            found[f"{name}.border"] = np.array(border - SHARE * rule.bias, np.float32)
        return found


def report(judged: ByKind) -> str:
    """A table of the shares above 0, by kind and by author."""
    groups: dict[str, list[tuple[float, ScopeQuestion]]] = {kind: list(own) for kind, own in judged.items()}
    for own in judged.values():
        for value, question in own:
            groups.setdefault(question.author, []).append((value, question))
            groups.setdefault("all", []).append((value, question))
    lines = [f"{'':<20}{'in':>7}{'out':>7}{'chat':>7}   share taken for a task"]
    for (name, rows), scope in product(groups.items(), ("in", "out", "chat")):
        taken = [value > 0 for value, question in rows if question.scope == scope]
        cell = f"{np.mean(taken):>7.1%}" if taken else f"{'-':>7}"
        if scope == "in":
            lines.append(f"{name:<20}")
        lines[-1] += cell
    return "\n".join(lines)


def read_judged(
    questions: Sequence[Path], logits: Sequence[Path]
) -> dict[str, list[tuple[float, ScopeQuestion]]]:
    """By kind, the rows with their logits. Raises KeyError when a row of a judged kind has none."""
    given: dict[str, dict[str, float]] = {}
    for file in logits:
        for kind, own in json.loads(file.read_text(encoding="utf-8")).items():
            given.setdefault(kind, {}).update(own)
    rows = rows_by_kind(questions)
    return {kind: [(own[row.text], row) for row in rows[kind]] for kind, own in given.items()}


def lower_vectors(kinds: Sequence[ImageKind], encoder: QuestionEncoder) -> dict[str, Floats]:
    """The inputs of rules for all questions and examples of some kinds."""
    examples = {example for kind in kinds for own in kind.tasks.values() for example in own}
    texts = sorted(examples | {question.text for kind in kinds for question in kind.questions})
    _, lower = encoder.read(texts)
    return dict(zip(texts, lower, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=Path, action="append", required=True, help="rows (JSON lines)")
    parser.add_argument(
        "--logits", type=Path, action="append", required=True, help="left-out logits, by kind"
    )
    parser.add_argument("--out", type=Path, help="where to write the adjustments")
    parser.add_argument("--left-out", type=Path, help="where to write the left-out log-odds")
    options = parser.parse_args(arguments)
    judged = read_judged(options.questions, options.logits)
    kinds = [kind for kind in read_kinds(options.questions) if kind.name in judged]
    adjuster = Adjuster(judged, kinds, lower_vectors(kinds, QuestionEncoder.load()))
    found = adjuster.left_out()
    print(report(found))
    if options.out:
        save_file(adjuster.tensors(), options.out)
    if options.left_out:
        table = {kind: {question.text: value for value, question in own} for kind, own in found.items()}
        options.left_out.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
