"""What a way of dividing questions between device and cloud is worth: accuracy, cloud share, latency, energy.

The measures are those of ECVL-ROUTER (arXiv 2510.27256) and RouteLLM (arXiv 2406.18665): APSP, the average
problem-solving probability, here the share of right answers; CA, the cost advantage, the share of questions that
stay here; AIL, the average inference latency; PGR, the share of the gap between device and cloud that is
recovered, its mean over all cloud shares (APGR), and the least cloud share that recovers x% of it (CPT). RCS
joins them in one score for each scenario: ours is the mean utility under its weights (router.place_policy). Plain
arithmetic; knows neither models nor files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.place_policy import Scenario, Weights


@dataclass(frozen=True)
class Answered:
    """One question's answer from one place."""

    right: bool
    seconds: float
    joules: float
    money: float


@dataclass(frozen=True)
class Query:
    """probability: what confidence says of the local answer, by a rule that was not fitted on it."""

    probability: float
    local: Answered
    cloud: Answered


@dataclass(frozen=True)
class Outcome:
    """Means over questions. apsp, ca: 0..1; ail: seconds; joules and money an answer."""

    apsp: float
    ca: float
    ail: float
    joules: float
    money: float

    def rcs(self, weights: Weights) -> float:
        return (
            self.apsp - weights.second * self.ail - weights.joule * self.joules - weights.money * self.money
        )


@dataclass(frozen=True)
class Curve:
    """accuracy: with 0, 1, … n of n questions in the cloud, in an order."""

    accuracy: tuple[float, ...]

    @property
    def apgr(self) -> float | None:
        """None where the cloud is no better than the device: there is no gap to recover."""
        recovered = self._recovered()
        if recovered is None:
            return None
        steps = len(recovered) - 1
        return sum(recovered[i] + recovered[i + 1] for i in range(steps)) / (2 * steps)

    def cpt(self, percent: float) -> float | None:
        """The least cloud share that recovers so many percent of the gap."""
        recovered = self._recovered()
        if recovered is None:
            return None
        steps = len(recovered) - 1
        enough = (i for i, share in enumerate(recovered) if share >= percent / 100 - 1e-9)
        return next(enough, steps) / steps

    def at(self, share: float) -> float:
        """The accuracy with this share of questions in the cloud, rounded down to whole questions."""
        return self.accuracy[int(share * (len(self.accuracy) - 1) + 1e-9)]

    def _recovered(self) -> list[float] | None:
        gap = self.accuracy[-1] - self.accuracy[0]
        return [(each - self.accuracy[0]) / gap for each in self.accuracy] if gap > 0 else None


def curve(queries: Sequence[Query], scores: Sequence[float]) -> Curve:
    """Questions go to the cloud in the order of their scores, the lowest first. Equal scores count as if in every
    order at once: each of them brings the mean of what they bring."""
    gains = sorted(
        (score, int(query.cloud.right) - int(query.local.right))
        for score, query in zip(scores, queries, strict=True)
    )
    by_score: dict[float, list[int]] = {}
    for score, gain in gains:
        by_score.setdefault(score, []).append(gain)
    total = float(sum(query.local.right for query in queries))
    accuracy = [total]
    for own in by_score.values():
        for _ in own:
            accuracy.append(accuracy[-1] + sum(own) / len(own))
    return Curve(tuple(each / len(queries) for each in accuracy))


def perfect_scores(queries: Sequence[Query]) -> list[float]:
    """Of a router that knows every answer: first what only the cloud gets right, last what only the device does."""
    return [float(int(query.local.right) - int(query.cloud.right)) for query in queries]


def outcome(queries: Sequence[Query], in_cloud: Sequence[bool], *, after_local: bool) -> Outcome:
    """after_local: what the cloud answers was answered here before, and costs both; else it costs only the cloud."""
    seconds = joules = money = 0.0
    right = 0
    for query, sent in zip(queries, in_cloud, strict=True):
        right += (query.cloud if sent else query.local).right
        for answered in (query.local,) * (after_local or not sent) + (query.cloud,) * sent:
            seconds += answered.seconds
            joules += answered.joules
            money += answered.money
    n = len(queries)
    return Outcome(right / n, 1 - sum(in_cloud) / n, seconds / n, joules / n, money / n)


def mixed(one: Outcome, other: Outcome, share: float) -> Outcome:
    """What is expected of choosing at random, the other one with this probability."""
    return Outcome(
        *(
            (1 - share) * getattr(one, name) + share * getattr(other, name)
            for name in ("apsp", "ca", "ail", "joules", "money")
        )
    )


def sent_by(wanted: Scenario, limit: float, queries: Sequence[Query]) -> list[bool]:
    """Which questions a scenario has the cloud answer. limit: its threshold (router.place_policy.threshold)."""
    if wanted.cloud_first:
        return [True] * len(queries)
    return [wanted.escalates and query.probability < limit for query in queries]


def worth_sending(queries: Sequence[Query], weights: Weights) -> list[bool]:
    """What a router that knows every answer and every cost would send, to have the highest RCS."""
    return [_utility(query.cloud, weights) > _utility(query.local, weights) for query in queries]


def _utility(answered: Answered, weights: Weights) -> float:
    return (
        int(answered.right)
        - weights.second * answered.seconds
        - weights.joule * answered.joules
        - weights.money * answered.money
    )
