"""Evaluates the modes on answered questions: the device's answers with their confidence, and recorded ones of a cloud.

The confidence is cross-fitted by image (edge_app/evaluation/confidence.py). The thresholds are those of the app with
cost averages equal to the recorded cloud's mean costs. Mode eco has its own local answers, since its budgets are
smaller.

Questions out of scope and chat are never answered right on the device, not even by a decline. How often the cloud is
right there cannot be told from a recording either, and is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.quality.scenarios.measures import (
    AnswerPair,
    Curve,
    MeanOutcome,
    ScoredAnswer,
    curve,
    mixed,
    outcome,
    perfect_scores,
    sent_by,
    worth_sending,
)
from benchmarks.quality.scenarios.recorded_answers import Key, RecordedAnswer, of_row
from edge_app.evaluation.confidence import Judged
from edge_app.evaluation.rows import EvaluationRow, Prediction, Scope
from router.place_policy import Expected, Scenario, Weights, threshold
from router.types import Mode

SCOPES: Mapping[Scope, str] = {"in": "in scope", "out": "out of scope", "chat": "chat"}

LOCAL_SHARE = 0.8
"""The share of questions for which Study.loss_at_local_share is reported."""


@dataclass(frozen=True)
class AskedRow:
    """A question with the device's answer. probability: that the answer is right; 0 for a decline, and as it was given
    for a built-in reply."""

    row: EvaluationRow
    prediction: Prediction
    probability: float

    @property
    def margin(self) -> float:
        """Of the router's choice; 0 where it made none."""
        return float((self.prediction.evidence or {}).get("margin") or 0.0)

    @property
    def tokens(self) -> int:
        return len((self.prediction.evidence or {}).get("logprobs", ()))


@dataclass(frozen=True)
class ModeOutcome:
    """The outcome of one mode.

    threshold: the least confidence of a local answer that is kept; None where the mode has no threshold.
    """

    mode: Mode
    threshold: float | None
    outcome: MeanOutcome


@dataclass(frozen=True)
class Domain:
    """One set of rows, or those of one scope: the shares of right answers on the device, in the cloud and in mode auto.

    ca, out_kept: of mode auto, as in MeanOutcome.
    """

    name: str
    queries: int
    local: float
    cloud: float
    auto: float
    ca: float
    out_kept: float | None


@dataclass(frozen=True)
class Study:
    """The results.

    out_of_scope: the number of questions out of scope and in chat. expected: the cloud's correctness and costs that the
    thresholds assume. others: divisions that are no mode, by name. perfect: the best division under each mode's
    weights. curves: by the score that orders the questions, the confidence first. domains: the scopes, when there is
    more than one, and the sets.
    """

    queries: int
    out_of_scope: int
    expected: Expected
    modes: tuple[ModeOutcome, ...]
    others: Mapping[str, MeanOutcome]
    perfect: Mapping[Mode, MeanOutcome]
    curves: Mapping[str, Curve]
    domains: tuple[Domain, ...]

    @property
    def loss_at_local_share(self) -> float:
        """Relative loss of right answers against all in the cloud, with LOCAL_SHARE of the questions on the device."""
        own = next(iter(self.curves.values()))
        return 1 - own.at(1 - LOCAL_SHARE) / max(own.accuracy[-1], 1e-9)

    def pgr(self, reached: MeanOutcome) -> float | None:
        """The share of the gap between device and cloud that an outcome recovers. None where there is no gap."""
        local, cloud = self.others["all local"].apsp, self.others["all cloud"].apsp
        return (reached.apsp - local) / (cloud - local) if cloud > local else None


def asked_of(results: Sequence[tuple[EvaluationRow, Prediction]], judged: Sequence[Judged]) -> list[AskedRow]:
    """Every question in the order of `results`. judged: those that the rule judges."""
    known = {(each.row, each.prediction.answer): each.probability for each in judged}
    return [
        AskedRow(row, prediction, known.get((row, prediction.answer), prediction.confidence or 0.0))
        for row, prediction in results
    ]


def cloud_accuracy(rows: Sequence[EvaluationRow], answers: Mapping[Key, RecordedAnswer]) -> float:
    """The share of right recorded answers to the rows in scope."""
    nothing = Expected(0.0, 0.0, 0.0, 0.0)
    right = [of_row(answers, row, nothing)[0] for row in rows if row.scope == "in"]
    return sum(map(bool, right)) / len(right)


def queries_of(
    asked: Sequence[AskedRow], answers: Mapping[Key, RecordedAnswer], prior: Expected, out_of_scope: float
) -> tuple[list[AnswerPair], Expected]:
    """The questions with both answers, and the cloud's mean costs with the prior's correctness.

    prior: costs of answers that the recording has none for. Its joules include those of the device meanwhile.
    out_of_scope: how often the cloud is assumed to be right out of scope and in chat.
    """
    found = []
    for each in asked:
        right, cost = of_row(answers, each.row, prior)
        cloud = ScoredAnswer(out_of_scope if right is None else right, cost.seconds, cost.joules, cost.money)
        local = local_answer(each.row, each.prediction)
        found.append(AnswerPair(each.probability, local, cloud, each.row.scope == "in"))
    means = [
        sum(getattr(query.cloud, name) for query in found) / len(found)
        for name in ("seconds", "joules", "money")
    ]
    return found, Expected(prior.correct, *means)


def local_answer(row: EvaluationRow, prediction: Prediction) -> ScoredAnswer:
    """The device's answer to a row. It costs no money."""
    total = prediction.timing_ms["total"]
    assert total is not None, "a prediction has its total time"
    right = prediction.correct and row.scope == "in" and not prediction.declined
    return ScoredAnswer(right, total / 1000, prediction.energy["joules"], 0.0, prediction.declined)


def study(
    asked: Sequence[AskedRow],
    queries: Sequence[AnswerPair],
    eco: Sequence[ScoredAnswer],
    expected: Expected,
    scenarios: Mapping[Mode, Scenario],
) -> Study:
    """Evaluate every mode. asked, queries, eco: of the same questions. eco: local answers within eco's budgets."""
    frugal = [replace(query, local=local) for query, local in zip(queries, eco, strict=True)]
    limits = {mode: threshold(wanted, expected) for mode, wanted in scenarios.items()}
    sent = {
        mode: [
            goes and (wanted.escalates_declines or not each.prediction.declined)
            for each, goes in zip(asked, sent_by(wanted, limits[mode], queries), strict=True)
        ]
        for mode, wanted in scenarios.items()
    }
    modes = tuple(
        ModeOutcome(
            mode,
            limits[mode] if scenarios[mode].escalates and not scenarios[mode].cloud_first else None,
            outcome(
                frugal if mode == "eco" else queries, sent[mode], after_local=not scenarios[mode].cloud_first
            ),
        )
        for mode in scenarios
    )
    nothing, everything = [False] * len(queries), [True] * len(queries)
    local, cloud = (outcome(queries, part, after_local=False) for part in (nothing, everything))
    auto_share = sum(sent["auto"]) / len(queries)
    return Study(
        queries=len(queries),
        out_of_scope=sum(not query.in_scope for query in queries),
        expected=expected,
        modes=modes,
        others={
            "all local": local,
            "all cloud": cloud,
            "random, as often as auto": mixed(local, cloud, auto_share),
        },
        perfect={
            mode: outcome(queries, worth_sending(queries, wanted.weights), after_local=False)
            for mode, wanted in scenarios.items()
        },
        curves={name: curve(queries, score) for name, score in _orders(asked, queries).items()},
        domains=_domains(asked, queries, sent["auto"]),
    )


def rcs(found: Study, weights: Mapping[Mode, Weights]) -> dict[str, dict[Mode, float]]:
    """RCS by division and scenario. "our mode" is, in each scenario, the mode of that name."""
    own = {each.mode: each.outcome.rcs(weights[each.mode]) for each in found.modes}
    table = {"our mode": own}
    for name, each in found.others.items():
        table[name] = {mode: each.rcs(weights[mode]) for mode in own}
    table["perfect router"] = {mode: found.perfect[mode].rcs(weights[mode]) for mode in own}
    return table


def _orders(asked: Sequence[AskedRow], queries: Sequence[AnswerPair]) -> dict[str, list[float]]:
    scores: dict[str, Callable[[AskedRow], float]] = {
        "confidence": lambda each: each.probability,
        "mean log-probability": lambda each: each.prediction.mean_logprob or 0.0,
        "router margin": lambda each: each.margin,
        "length": lambda each: -float(each.tokens),
        "random": lambda _: 0.0,
    }
    found = {name: [score(each) for each in asked] for name, score in scores.items()}
    return {**found, "perfect router": perfect_scores(queries)}


def _domains(
    asked: Sequence[AskedRow], queries: Sequence[AnswerPair], sent: Sequence[bool]
) -> tuple[Domain, ...]:
    members: dict[tuple[str, str], list[tuple[AnswerPair, bool]]] = {}
    for group in ("scope", "set"):
        for each, query, goes in zip(asked, queries, sent, strict=True):
            name = SCOPES[each.row.scope] if group == "scope" else each.row.set
            members.setdefault((group, name), []).append((query, goes))
    if all(query.in_scope for query in queries):
        del members["scope", SCOPES["in"]]
    found = []
    for (_, name), own in members.items():
        part, gone = [query for query, _ in own], [sending for _, sending in own]
        local, cloud, auto = (
            outcome(part, division, after_local=False)
            for division in ([False] * len(own), [True] * len(own), gone)
        )
        found.append(Domain(name, len(own), local.apsp, cloud.apsp, auto.apsp, auto.ca, auto.out_kept))
    return tuple(found)
