"""What each mode makes of answered questions: the device's answers with their confidence, the cloud's recorded.

The confidence is cross-fitted by image (edge_app.evaluation.confidence), the thresholds are those the app would use
once it expects what the cloud's answers take here. Eco has answers of its own, since its budgets are smaller.
Knows nothing of how answers are made or of how a study is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.quality.recorded_answers import Key, Recorded, of_row
from benchmarks.quality.scenario_measures import (
    Answered,
    Curve,
    Outcome,
    Query,
    curve,
    mixed,
    outcome,
    perfect_scores,
    sent_by,
    worth_sending,
)
from edge_app.evaluation.confidence import Judged
from edge_app.evaluation.rows import Prediction
from router.names import Mode
from router.place_policy import Expected, Scenario, Weights, threshold

LOCAL_SHARE = 0.8
"""Of questions, that are to stay on the device..."""

LOSS = 0.1
"""...at most at this relative loss of right answers against all in the cloud."""


@dataclass(frozen=True)
class ModeOutcome:
    """threshold: the confidence a local answer needs to be kept; None where none is asked of it."""

    mode: Mode
    threshold: float | None
    outcome: Outcome


@dataclass(frozen=True)
class Domain:
    """One set: the share of right answers here, in the cloud, and as auto divides them; ca: auto's."""

    name: str
    queries: int
    local: float
    cloud: float
    auto: float
    ca: float


@dataclass(frozen=True)
class Study:
    """expected: what the cloud's answers are taken to cost, for the thresholds. others: by name, what is beside
    the modes. curves: by what the order is, the confidence first."""

    queries: int
    expected: Expected
    modes: tuple[ModeOutcome, ...]
    others: Mapping[str, Outcome]
    perfect: Mapping[Mode, Outcome]
    curves: Mapping[str, Curve]
    domains: tuple[Domain, ...]

    @property
    def loss_at_local_share(self) -> float:
        """Relative, against all in the cloud, when as many questions as LOCAL_SHARE stay here."""
        own = next(iter(self.curves.values()))
        return 1 - own.at(1 - LOCAL_SHARE) / max(own.accuracy[-1], 1e-9)


def queries_of(
    judged: Sequence[Judged], answers: Mapping[Key, Recorded], prior: Expected
) -> tuple[list[Query], Expected]:
    """The questions, and what is to be expected of this cloud: its mean costs, at the prior's correctness. prior:
    its joules are those here and there together."""
    found = []
    for each in judged:
        right, cost = of_row(answers, each.row, prior)
        cloud = Answered(right, cost.seconds, cost.joules, cost.money)
        found.append(Query(each.probability, local_answer(each.prediction), cloud))
    means = [
        sum(getattr(query.cloud, name) for query in found) / len(found)
        for name in ("seconds", "joules", "money")
    ]
    return found, Expected(prior.correct, *means)


def local_answer(prediction: Prediction) -> Answered:
    total = prediction.timing_ms["total"]
    assert total is not None, "every answer has taken its time"
    return Answered(prediction.correct, total / 1000, prediction.energy["joules"], 0.0)


def study(
    judged: Sequence[Judged],
    queries: Sequence[Query],
    eco: Sequence[Answered],
    expected: Expected,
    scenarios: Mapping[Mode, Scenario],
) -> Study:
    """eco: the same questions' answers with eco's budgets."""
    frugal = [replace(query, local=local) for query, local in zip(queries, eco, strict=True)]
    limits = {mode: threshold(wanted, expected) for mode, wanted in scenarios.items()}
    sent = {mode: sent_by(wanted, limits[mode], queries) for mode, wanted in scenarios.items()}
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
        curves={name: curve(queries, score) for name, score in _orders(judged, queries).items()},
        domains=_domains(judged, queries, sent["auto"]),
    )


def rcs(found: Study, weights: Mapping[Mode, Weights]) -> dict[str, dict[Mode, float]]:
    """By what divides the questions, the score in each scenario; "our mode" is each scenario's own."""
    own = {each.mode: each.outcome.rcs(weights[each.mode]) for each in found.modes}
    table = {"our mode": own}
    for name, each in found.others.items():
        table[name] = {mode: each.rcs(weights[mode]) for mode in own}
    table["perfect router"] = {mode: found.perfect[mode].rcs(weights[mode]) for mode in own}
    return table


def _orders(judged: Sequence[Judged], queries: Sequence[Query]) -> dict[str, list[float]]:
    scores: dict[str, Callable[[Judged], float]] = {
        "confidence": lambda each: each.probability,
        "mean log-probability": lambda each: each.prediction.mean_logprob or 0.0,
        "router margin": lambda each: each.logged.evidence.margin or 0.0,
        "length": lambda each: -float(len(each.logged.evidence.logprobs)),
        "random": lambda _: 0.0,
    }
    found = {name: [score(each) for each in judged] for name, score in scores.items()}
    return {**found, "perfect router": perfect_scores(queries)}


def _domains(judged: Sequence[Judged], queries: Sequence[Query], sent: Sequence[bool]) -> tuple[Domain, ...]:
    found = []
    for name in dict.fromkeys(each.row.set for each in judged):
        own = [
            (query, gone)
            for each, query, gone in zip(judged, queries, sent, strict=True)
            if each.row.set == name
        ]
        count = len(own)
        found.append(
            Domain(
                name,
                count,
                sum(query.local.right for query, _ in own) / count,
                sum(query.cloud.right for query, _ in own) / count,
                sum((query.cloud if gone else query.local).right for query, gone in own) / count,
                1 - sum(gone for _, gone in own) / count,
            )
        )
    return tuple(found)
