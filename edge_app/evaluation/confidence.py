"""Fits the confidence rule to logged answers and judges it on answers it was not fitted on.

Cross-fitting by image: the images are dealt into folds; a rule fitted on all folds but one judges the answers
about the images of that one. So every answer is judged once, by a rule that has seen neither it nor another
answer about its image. What is kept in the end is fitted on all. Knows nothing of how answers were made or of
how a study is shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_app.evaluation.calibration import Bin, auroc, calibration_error, reliability
from edge_app.evaluation.rows import Prediction, Row
from models.core.errors import UserError
from models.core.files import write_whole
from models.scoring.answer_rules import normalise
from router.confidence.early_stop import Stopping, stopping, with_slack
from router.confidence.fit import Logged, fit, fit_own, fold_of
from router.confidence.rule import (
    FEATURES,
    FORMAT,
    Confidence,
    Evidence,
    Own,
    Rule,
    bundled_rule,
    read_adapters,
)

MOST_CHOICES = 10
"""A question is closed when its type has at most so many different answers."""

LEAST_ROWS = 20
"""An adapter with fewer answers is left to the stated default."""


@dataclass(frozen=True)
class Judged:
    """An answer and the probability that a rule gave it which was not fitted on its image. confidence: that rule.
    without: the probability by the shared rule of other sets alone, as for an adapter without data."""

    row: Row
    prediction: Prediction
    logged: Logged
    closed: bool
    confidence: Confidence
    probability: float
    without: float


@dataclass(frozen=True)
class Line:
    """Of some answers. aurocs: of ours, of the default for adapters without data, and of the baselines; None
    where all are right, or all wrong. ece: of ours; mean_ece: of the geometric mean of token probabilities."""

    name: str
    rows: int
    right: int
    aurocs: dict[str, float | None]
    ece: float
    without_ece: float
    mean_ece: float
    bins: tuple[Bin, ...]


def logged_answers(results: Sequence[tuple[Row, Prediction]]) -> list[Logged]:
    """Raises UserError for an answer without evidence: a prediction that no local model made."""
    found = []
    for row, prediction in results:
        if prediction.evidence is None:
            raise UserError(
                f"{row.set}, {row.image}: an answer from elsewhere says nothing about this device."
            )
        evidence = {**prediction.evidence, "logprobs": tuple(prediction.evidence["logprobs"])}
        found.append(Logged(Evidence(**evidence), prediction.correct, f"{row.set}/{row.image}"))
    return found


Fit = Callable[[Sequence[Logged]], Rule]


def whole(logged: Sequence[Logged]) -> Rule:
    """Shared part and adapters: how the bundled rule is made."""
    return with_slack(fit(logged), logged)


def beside_bundled(logged: Sequence[Logged]) -> Rule:
    """The bundled rule, with these answers' adapters fitted anew."""
    rule = bundled_rule()
    return replace(rule, adapters={**rule.adapters, **own_fits(logged)})


def own_fits(logged: Sequence[Logged]) -> dict[str, Own]:
    """What each adapter with enough answers adds to the bundled shared rule."""
    counted = Counter(each.kind for each in logged)
    enough = [each for each in logged if counted[each.kind] >= LEAST_ROWS]
    return fit_own(enough, bundled_rule()) if enough else {}


def judged_held_out(results: Sequence[tuple[Row, Prediction]], make: Fit, folds: int) -> list[Judged]:
    """make: fits a rule. Raises UserError when there are not enough answers, right and wrong."""
    logged = logged_answers(results)
    _check(logged, folds)
    closed = _closed([row for row, _ in results])
    of_fold = [fold_of(f"fold {each.image}", folds) for each in logged]
    rules = [
        make([each for each, own in zip(logged, of_fold, strict=True) if own != fold])
        for fold in range(folds)
    ]
    others = _defaults(results, logged, make)
    judged = []
    for (row, prediction), each, fold in zip(results, logged, of_fold, strict=True):
        confidence = Confidence(rules[fold])
        judged.append(
            Judged(
                row=row,
                prediction=prediction,
                logged=each,
                closed=closed[row.set, row.type],
                confidence=confidence,
                probability=confidence.judge(each.evidence).probability,
                without=others[row.set].judge(each.evidence).probability,
            )
        )
    return judged


def lines(judged: Sequence[Judged]) -> list[Line]:
    """All, closed and open questions, then each set."""
    parts = {
        "all": list(judged),
        "closed questions": [each for each in judged if each.closed],
        "open questions": [each for each in judged if not each.closed],
    }
    for each in judged:
        parts.setdefault(each.row.set, []).append(each)
    return [_line(name, own) for name, own in parts.items() if own]


def stoppings(judged: Sequence[Judged], thresholds: Sequence[float]) -> list[Stopping]:
    pairs = [(each.confidence, each.logged) for each in judged]
    return [stopping(pairs, threshold) for threshold in thresholds]


def write_shared(file: Path, rule: Rule) -> None:
    """A whole rule, as router/bundled/confidence.json."""
    _write(
        file,
        {
            "centre": rule.centre,
            "scale": rule.scale,
            "intercept": rule.intercept,
            "weights": rule.weights,
            "hopeless": {"slack": rule.slack, "least_tokens": rule.least_tokens},
            "adapters": _as_json(rule.adapters),
        },
    )


def write_own(file: Path, fitted: Mapping[str, Own]) -> None:
    """Adds adapters to the user's file, or replaces what it says of them."""
    before = read_adapters(file) if file.exists() else {}
    _write(file, {"adapters": _as_json({**before, **fitted})})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    whole_content = {"format": FORMAT, "features": FEATURES, **content}
    write_whole(file, (json.dumps(whole_content, indent=1) + "\n").encode())


def _as_json(adapters: Mapping[str, Own]) -> dict[str, Any]:
    return {name: asdict(own) for name, own in sorted(adapters.items())}


def _check(logged: Sequence[Logged], folds: int) -> None:
    right = sum(each.right for each in logged)
    if len({each.image for each in logged}) < folds or not 0 < right < len(logged):
        raise UserError(
            f"Of {len(logged)} answers {right} are right: confidence needs some of both, about at least {folds} images."
        )


def _closed(rows: Sequence[Row]) -> dict[tuple[str, str], bool]:
    """By set and type of question."""
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        answers[row.set, row.type].append(normalise(row.answer) or row.answer)
    return {kind: len(set(own)) <= min(MOST_CHOICES, len(own) // 2) for kind, own in answers.items()}


def _defaults(
    results: Sequence[tuple[Row, Prediction]], logged: Sequence[Logged], make: Fit
) -> dict[str, Confidence]:
    """By set: the shared rule without any of its answers; where all answers are of one set, the bundled one."""
    found = {}
    for name in {row.set for row, _ in results}:
        others = [each for (row, _), each in zip(results, logged, strict=True) if row.set != name]
        right = sum(each.right for each in others)
        rule = make(others) if 0 < right < len(others) else bundled_rule()
        found[name] = Confidence(replace(rule, adapters={}))
    return found


def _line(name: str, own: Sequence[Judged]) -> Line:
    right = [each.logged.right for each in own]
    means = [sum(e.logged.evidence.logprobs) / len(e.logged.evidence.logprobs) for e in own]
    scores = {
        "confidence": [each.probability for each in own],
        "without data": [each.without for each in own],
        "mean log-probability": means,
        "least log-probability": [min(each.logged.evidence.logprobs) for each in own],
        "head probability": [each.logged.evidence.head or 0.0 for each in own],
        "router margin": [each.logged.evidence.margin or 0.0 for each in own],
        "length": [-float(len(each.logged.evidence.logprobs)) for each in own],
    }
    return Line(
        name=name,
        rows=len(own),
        right=sum(right),
        aurocs={score: auroc(values, right) for score, values in scores.items()},
        ece=calibration_error(scores["confidence"], right),
        without_ece=calibration_error(scores["without data"], right),
        mean_ece=calibration_error([math.exp(mean) for mean in means], right),
        bins=reliability(scores["confidence"], right),
    )
