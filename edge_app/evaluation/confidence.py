"""Fits the confidence rule to logged answers and measures it by cross-validation.

Images are divided into folds. A rule that is fitted on all other folds judges the answers about the images of a fold.
The answer to a question that has an author is judged by a rule fitted without all questions of that author as well. So
each answer is judged once, by a rule that has seen neither its image nor its author's way to ask. The rule that is
written in the end is fitted on all answers.

No answer out of scope and in chat is right. Declines have no confidence: they are in no fit and in no figure of it.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
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
    NO_ADAPTER,
    AdapterOffset,
    Confidence,
    Evidence,
    Rule,
    bundled_rule,
    read_adapters,
    why_ignored,
)

MOST_CHOICES = 10
"""A type of question is closed when it has at most this many different answers."""

Result = tuple[EvaluationRow, Prediction]

LEAST_ROWS = 20
"""An adapter with fewer answers gets no rule of its own; the shared rule judges it."""


@dataclass(frozen=True)
class Judged:
    """An answer with its held-out probability of being right.

    closed: whether its type of question is closed. confidence: the rule fitted on the other folds and authors.
    probability: by that rule. without: the probability by a rule fitted on the other sets and authors, as an adapter
    without data gets it.
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


def judgeable(results: Sequence[Result]) -> tuple[list[Result], list[EvaluationRow]]:
    """The answers that the rule judges, and the rows that the model declined to answer or the app answered itself."""
    has = [
        prediction.place != "local" or None not in (prediction.confidence, prediction.evidence)
        for _, prediction in results
    ]
    answers = [each for each, judged in zip(results, has, strict=True) if judged]
    return answers, [row for (row, _), judged in zip(results, has, strict=True) if not judged]


def logged_answers(results: Sequence[Result]) -> list[Logged]:
    """The answers in the form that rules are fitted on. Raises UserError for an answer that no local model made."""
    found = []
    for row, prediction in results:
        if prediction.evidence is None:
            raise UserError(
                f"{row.set}, {row.image}: an answer of the cloud cannot be used to fit the confidence."
            )
        evidence = {**prediction.evidence, "logprobs": tuple(prediction.evidence["logprobs"])}
        right = prediction.correct and row.scope == "in"
        found.append(
            Logged(Evidence(**evidence), right, f"{row.set}/{row.image or row.question}", row.author)
        )
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


def judged_held_out(results: Sequence[Result], make: Fit, folds: int) -> list[Judged]:
    """Judges each answer by a rule fitted on the other folds and authors.

    results: rows with their predictions. make: fits a rule. folds: the number of parts of
    the images. Raises UserError with too few right or wrong answers.
    """
    logged = logged_answers(results)
    _check(logged, folds)
    closed = _closed([row for row, _ in results if row.scope == "in"])
    of_fold = [fold_of(f"fold {each.image}", folds) for each in logged]

    @cache
    def without(fold: int, author: str | None) -> Confidence:
        return Confidence(
            make(
                [
                    each
                    for each, own in zip(logged, of_fold, strict=True)
                    if own != fold and (author is None or each.author != author)
                ]
            )
        )

    others = _Defaults(results, logged, make)
    judged = []
    for (row, prediction), each, fold in zip(results, logged, of_fold, strict=True):
        confidence = without(fold, each.author)
        judged.append(
            Judged(
                row=row,
                prediction=prediction,
                logged=each,
                closed=closed.get((row.set, row.type), False),
                confidence=confidence,
                probability=confidence.judge(each.evidence).probability,
                without=others.of(row).judge(each.evidence).probability,
            )
        )
    return judged


def lines(judged: Sequence[Judged]) -> list[Line]:
    """Lines for all answers, for those in scope, for closed and open questions in scope, and for each set."""
    in_scope = [each for each in judged if each.row.scope == "in"]
    parts = {
        "all": list(judged),
        "in scope": in_scope if len(in_scope) < len(judged) else [],
        "closed questions": [each for each in in_scope if each.closed],
        "open questions": [each for each in in_scope if not each.closed],
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
    """Writes the rules of adapters into the user's file. Other adapters in the file keep theirs.

    A file of another version of the app is replaced.
    """
    before = read_adapters(file) if file.exists() and why_ignored(file) is None else {}
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


class _Defaults:
    """By set and author, a rule fitted on the other sets and authors, without the offsets of their adapters.

    The offset of the plain model stays, because the app always has it. The bundled rule stands in where nothing can be
    fitted.
    """

    def __init__(self, results: Sequence[Result], logged: Sequence[Logged], make: Fit) -> None:
        self._rows = [(row, each) for (row, _), each in zip(results, logged, strict=True)]
        self._make = make
        self._found: dict[tuple[str, str | None], Confidence] = {}

    def of(self, row: EvaluationRow) -> Confidence:
        key = row.set, row.author
        if key not in self._found:
            self._found[key] = self._fitted(*key)
        return self._found[key]

    def _fitted(self, name: str, author: str | None) -> Confidence:
        others = [
            each for row, each in self._rows if row.set != name and (author is None or each.author != author)
        ]
        right = sum(each.right for each in others)
        rule = self._make(others) if 0 < right < len(others) else bundled_rule()
        plain = {kind: own for kind, own in rule.adapters.items() if kind == NO_ADAPTER}
        return Confidence(replace(rule, adapters=plain))


def _line(name: str, own: Sequence[Judged]) -> Line:
    right = [each.logged.right for each in own]
    means = [sum(e.logged.evidence.logprobs) / len(e.logged.evidence.logprobs) for e in own]
    scores = {
        "confidence": [each.probability for each in own],
        "without data": [each.without for each in own],
        "mean log-probability": means,
        "least log-probability": [min(each.logged.evidence.logprobs) for each in own],
        "head probability": [each.logged.evidence.head or 0.0 for each in own],
        "scope": [each.logged.evidence.scope or 0.0 for each in own],
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
