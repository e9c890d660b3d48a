"""Fits the confidence rule to logged answers and measures it by cross-validation.

Images are divided into folds. A rule that is fitted on all other folds judges the answers about the images of a fold.
So each answer is judged once, by a rule fitted without it and without other answers about its image. The rule that
is written in the end is fitted on all answers.
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
from edge_app.evaluation.rows import EvaluationRow, Prediction
from models.core.errors import UserError
from models.core.files import write_whole
from models.scoring.answer_rules import normalise
from router.confidence.early_stop import Stopping, stopping, with_slack
from router.confidence.fit import Logged, fit, fit_offsets, fold_of
from router.confidence.rule import (
    FEATURES,
    FORMAT,
    AdapterOffset,
    Confidence,
    Evidence,
    Rule,
    bundled_rule,
    read_adapters,
)

MOST_CHOICES = 10
"""A type of question is closed when it has at most this many different answers."""

LEAST_ROWS = 20
"""An adapter with fewer answers gets no rule of its own; the shared rule judges it."""


@dataclass(frozen=True)
class Judged:
    """An answer with its held-out probability of being right.

    closed: whether its type of question is closed. confidence: the rule fitted on the other folds. probability: by that
    rule. without: the probability by the shared part of a rule fitted on the other sets, as an adapter without data
    gets it.
    """

    row: EvaluationRow
    prediction: Prediction
    logged: Logged
    closed: bool
    confidence: Confidence
    probability: float
    without: float


@dataclass(frozen=True)
class Line:
    """A line of the report: a group of answers and how well each score separates right from wrong ones.

    aurocs: by score: the confidence, the confidence without data, and baselines that need no fitting; None where all
    answers are right, or all wrong. ece, without_ece, mean_ece: calibration errors of the confidence, of the confidence
    without data, and of the geometric mean of the token probabilities. bins: of the confidence.
    """

    name: str
    rows: int
    right: int
    aurocs: dict[str, float | None]
    ece: float
    without_ece: float
    mean_ece: float
    bins: tuple[Bin, ...]


def logged_answers(results: Sequence[tuple[EvaluationRow, Prediction]]) -> list[Logged]:
    """The answers in the form that rules are fitted on. Raises UserError for an answer that no local model made."""
    found = []
    for row, prediction in results:
        if prediction.evidence is None:
            raise UserError(
                f"{row.set}, {row.image}: an answer of the cloud cannot be used to fit the confidence."
            )
        evidence = {**prediction.evidence, "logprobs": tuple(prediction.evidence["logprobs"])}
        found.append(Logged(Evidence(**evidence), prediction.correct, f"{row.set}/{row.image}"))
    return found


Fit = Callable[[Sequence[Logged]], Rule]
"""Fits a rule to answers: `fit_whole` or `fit_beside_bundled`."""


def fit_whole(logged: Sequence[Logged]) -> Rule:
    """A rule whose shared part and adapters are all fitted to these answers, as the bundled rule is made."""
    return with_slack(fit(logged), logged)


def fit_beside_bundled(logged: Sequence[Logged]) -> Rule:
    """The bundled rule with the adapters of these answers fitted to them."""
    rule = bundled_rule()
    return replace(rule, adapters={**rule.adapters, **own_fits(logged)})


def own_fits(logged: Sequence[Logged]) -> dict[str, AdapterOffset]:
    """By name, what each adapter with at least LEAST_ROWS answers adds to the shared part of the bundled rule."""
    counted = Counter(each.kind for each in logged)
    enough = [each for each in logged if counted[each.kind] >= LEAST_ROWS]
    return fit_offsets(enough, bundled_rule()) if enough else {}


def judged_held_out(
    results: Sequence[tuple[EvaluationRow, Prediction]], make: Fit, folds: int
) -> list[Judged]:
    """Judges each answer by a rule fitted on the other folds. Raises UserError with too few right or wrong answers.

    results: rows with their predictions. make: fits a rule. folds: the number of parts of the images.
    """
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
    """Lines for all answers, for closed and open questions, and for each set."""
    parts = {
        "all": list(judged),
        "closed questions": [each for each in judged if each.closed],
        "open questions": [each for each in judged if not each.closed],
    }
    for each in judged:
        parts.setdefault(each.row.set, []).append(each)
    return [_line(name, own) for name, own in parts.items() if own]


def stoppings(judged: Sequence[Judged], thresholds: Sequence[float]) -> list[Stopping]:
    """For each threshold, what ending hopeless answers early would save and lose (see router.confidence.early_stop)."""
    pairs = [(each.confidence, each.logged) for each in judged]
    return [stopping(pairs, threshold) for threshold in thresholds]


def write_shared(file: Path, rule: Rule) -> None:
    """Writes a whole rule in the format of router/bundled/confidence.json."""
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


def write_own(file: Path, fitted: Mapping[str, AdapterOffset]) -> None:
    """Writes the rules of adapters into the user's file. Other adapters in the file keep theirs."""
    before = read_adapters(file) if file.exists() else {}
    _write(file, {"adapters": _as_json({**before, **fitted})})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    whole_content = {"format": FORMAT, "features": FEATURES, **content}
    write_whole(file, (json.dumps(whole_content, indent=1) + "\n").encode())


def _as_json(adapters: Mapping[str, AdapterOffset]) -> dict[str, Any]:
    return {name: asdict(own) for name, own in sorted(adapters.items())}


def _check(logged: Sequence[Logged], folds: int) -> None:
    right = sum(each.right for each in logged)
    if len({each.image for each in logged}) < folds or not 0 < right < len(logged):
        raise UserError(
            f"Of {len(logged)} answers {right} are right; the fit needs some of both, about at least {folds} images."
        )


def _closed(rows: Sequence[EvaluationRow]) -> dict[tuple[str, str], bool]:
    """Whether questions are closed, by set and type."""
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        answers[row.set, row.type].append(normalise(row.answer) or row.answer)
    return {kind: len(set(own)) <= min(MOST_CHOICES, len(own) // 2) for kind, own in answers.items()}


def _defaults(
    results: Sequence[tuple[EvaluationRow, Prediction]], logged: Sequence[Logged], make: Fit
) -> dict[str, Confidence]:
    """By set, the shared part of a rule fitted on the other sets; of the bundled rule when that cannot be fitted."""
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
