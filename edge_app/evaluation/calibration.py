"""How good a score is at telling right answers from wrong ones, and how far a probability can be believed.

Plain arithmetic over scores and what came true; knows nothing of where they are from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers whose probability fell into one tenth. said: their mean probability; right: the share of them."""

    count: int
    said: float
    right: float


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability that a right answer scores above a wrong one, ties counting half. None without both."""
    ranked = sorted(zip(scores, right, strict=True))
    positive = sum(right)
    negative = len(ranked) - positive
    if not positive or not negative:
        return None
    total, below, at = 0.0, 0, 0
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
    """By tenths of probability, those without answers left out."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for probability, was_right in zip(probabilities, right, strict=True):
        bins[min(int(probability * BINS), BINS - 1)].append((probability, was_right))
    return tuple(
        Bin(len(own), sum(p for p, _ in own) / len(own), sum(was for _, was in own) / len(own))
        for own in bins
        if own
    )


def calibration_error(probabilities: Sequence[float], right: Sequence[bool]) -> float:
    """ECE: over tenths of probability, how far what was said is from what came true, weighted by answers."""
    bins = reliability(probabilities, right)
    total = sum(own.count for own in bins)
    return sum(own.count * abs(own.said - own.right) for own in bins) / max(total, 1)
