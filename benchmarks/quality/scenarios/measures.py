"""Measures of a division of questions between device and cloud: accuracy, cloud share, latency, energy, money.

They are those of ECVL-ROUTER (arXiv 2510.27256) and RouteLLM (arXiv 2406.18665):

APSP    average problem-solving probability: here the share of right answers
CA      cost advantage: the share of questions that stay on the device
AIL     average inference latency, in seconds
PGR     performance gap recovered: (accuracy - device's) / (cloud's - device's)
APGR    mean of PGR over all cloud shares
CPT(x)  least cloud share that recovers x% of the gap
RCS     one score for a scenario: here the mean utility under its weights (router/place_policy.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.place_policy import Scenario, Weights


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer of the device or the cloud, and its cost.

    right: 1 or 0, or between them the assumed probability where it is not known. declined: it is no answer.
    """

    right: float
    seconds: float
    joules: float
    money: float
    declined: bool = False


@dataclass(frozen=True)
class AnswerPair:
    """Both answers to a question.

    probability: that the local one is right, by a rule not fitted on it. in_scope: whether the question is in scope.
    """

    probability: float
    local: ScoredAnswer
    cloud: ScoredAnswer
    in_scope: bool = True


@dataclass(frozen=True)
class MeanOutcome:
    """Means over questions. apsp, ca: 0..1. ail: seconds. joules, money: of an answer.

    out_kept: of the questions out of scope and in chat, the share that this device answers, rather than the cloud or
    with a decline. None without such questions.
    """

    apsp: float
    ca: float
    ail: float
    joules: float
    money: float
    out_kept: float | None = None

    def rcs(self, weights: Weights) -> float:
        """apsp - weights . (ail, joules, money)"""
        return (
            self.apsp - weights.second * self.ail - weights.joule * self.joules - weights.money * self.money
        )


@dataclass(frozen=True)
class Curve:
    """Accuracy as the cloud answers more questions. accuracy[k]: with k of n questions in the cloud, k = 0..n."""

    accuracy: tuple[float, ...]

    @property
    def apgr(self) -> float | None:
        """Area under PGR by the trapezoidal rule. None where the cloud is no better than the device."""
        recovered = self._recovered()
        if recovered is None:
            return None
        steps = len(recovered) - 1
        return sum(recovered[i] + recovered[i + 1] for i in range(steps)) / (2 * steps)

    def cpt(self, percent: float) -> float | None:
        """The least cloud share, 0..1, that recovers `percent` of the gap. None where there is no gap."""
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
        """PGR for each number of questions in the cloud."""
        gap = self.accuracy[-1] - self.accuracy[0]
        return [(each - self.accuracy[0]) / gap for each in self.accuracy] if gap > 0 else None


def curve(queries: Sequence[AnswerPair], scores: Sequence[float]) -> Curve:
    """The curve when questions go to the cloud by ascending score.

    Questions of equal score count with their mean gain, which is the expectation over their orders.
    """
    gains = sorted(
        (score, query.cloud.right - query.local.right) for score, query in zip(scores, queries, strict=True)
    )
    by_score: dict[float, list[float]] = {}
    for score, gain in gains:
        by_score.setdefault(score, []).append(gain)
    total = float(sum(query.local.right for query in queries))
    accuracy = [total]
    for own in by_score.values():
        for _ in own:
            accuracy.append(accuracy[-1] + sum(own) / len(own))
    return Curve(tuple(each / len(queries) for each in accuracy))


def perfect_scores(queries: Sequence[AnswerPair]) -> list[float]:
    """Scores of a router that knows every answer: -1 where only the cloud is right, 1 where only the device is."""
    return [query.local.right - query.cloud.right for query in queries]


def outcome(queries: Sequence[AnswerPair], in_cloud: Sequence[bool], *, after_local: bool) -> MeanOutcome:
    """The means when the cloud answers the questions marked in in_cloud.

    after_local: a question of the cloud was answered on the device before, so that both costs count.
    """
    right = seconds = joules = money = 0.0
    for query, sent in zip(queries, in_cloud, strict=True):
        right += (query.cloud if sent else query.local).right
        for answered in (query.local,) * (after_local or not sent) + (query.cloud,) * sent:
            seconds += answered.seconds
            joules += answered.joules
            money += answered.money
    n = len(queries)
    return MeanOutcome(
        right / n, 1 - sum(in_cloud) / n, seconds / n, joules / n, money / n, out_kept(queries, in_cloud)
    )


def out_kept(queries: Sequence[AnswerPair], in_cloud: Sequence[bool]) -> float | None:
    """See MeanOutcome."""
    own = [
        not (sent or query.local.declined)
        for query, sent in zip(queries, in_cloud, strict=True)
        if not query.in_scope
    ]
    return sum(own) / len(own) if own else None


def mixed(one: MeanOutcome, other: MeanOutcome, share: float) -> MeanOutcome:
    """The expectation of a random choice that takes `other` with probability `share`."""
    names = ["apsp", "ca", "ail", "joules", "money"]
    if one.out_kept is not None and other.out_kept is not None:
        names.append("out_kept")
    return MeanOutcome(*((1 - share) * getattr(one, name) + share * getattr(other, name) for name in names))


def sent_by(wanted: Scenario, limit: float, queries: Sequence[AnswerPair]) -> list[bool]:
    """Which questions the cloud answers in a scenario. limit: its threshold (router.place_policy.threshold)."""
    if wanted.cloud_first:
        return [True] * len(queries)
    return [wanted.escalates and query.probability < limit for query in queries]


def worth_sending(queries: Sequence[AnswerPair], weights: Weights) -> list[bool]:
    """The division with the highest RCS: that of a router which knows every answer and cost."""
    return [_utility(query.cloud, weights) > _utility(query.local, weights) for query in queries]


def _utility(answered: ScoredAnswer, weights: Weights) -> float:
    return (
        answered.right
        - weights.second * answered.seconds
        - weights.joule * answered.joules
        - weights.money * answered.money
    )
