"""Measures of a confidence: AUROC, reliability by bins of probability, and the expected calibration error.

scikit-learn has these measures too, but it is no dependency of the app, and `edge-app eval confidence` works without
extras. The tests compare `auroc` with counting all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10
"""Bins of equal width between the probabilities 0 and 1."""


@dataclass(frozen=True)
class Bin:
    """The answers whose probability is in one bin.

    count: at least 1. said: the mean of their probabilities. right: the share of right answers among them.
    """

    count: int
    said: float
    right: float


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Area under the ROC curve: the probability that a right answer scores above a wrong one, ties counting half.

    scores, right: one entry an answer. Returns None when all answers are right, or all wrong.

    Computed as U / (right × wrong), with the Mann-Whitney statistic U, in n log n time: answers are sorted by score,
    and a group of equal scores adds its right answers times the wrong ones below, plus half of those tied.
    """
    ranked = sorted(zip(scores, right, strict=True))
    positive = sum(right)
    negative = len(ranked) - positive
    if not positive or not negative:
        return None
    total, below, at = 0.0, 0, 0  # U so far, wrong answers of lower score, index of the group
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        tied = [was_right for _, was_right in ranked[at:end]]
        wrong = len(tied) - sum(tied)
        total += sum(tied) * (below + wrong / 2)
        below += wrong
        at = end
    return total / (positive * negative)


def reliability(probabilities: Sequence[float], right: Sequence[bool]) -> tuple[Bin, ...]:
    """The bins that have answers, by rising probability. A probability of 1 belongs to the last bin."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, was_right in zip(probabilities, right, strict=True):
        bins[min(int(probability * BINS), BINS - 1)].append((probability, was_right))
    return tuple(
        Bin(len(own), sum(p for p, _ in own) / len(own), sum(was for _, was in own) / len(own))
        for own in bins
        if own
    )


def calibration_error(probabilities: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error, 0..1: the mean over the bins of |mean probability - share right|, weighted by count.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    bins = reliability(probabilities, right)
    total = sum(own.count for own in bins)
    return sum(own.count * abs(own.said - own.right) for own in bins) / max(total, 1)
