"""Computes the slack of a confidence rule from logged answers, and measures what pausing with it saves and loses.

An answer is paused when the logit of its beginning is more than the slack below the log-odds of a threshold. Some
paused answers would have been right. The slack is the smallest with which, at each of THRESHOLDS, at most the share
LOST of the right answers at or above the threshold is paused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from router.confidence.fit import Logged
from router.confidence.rule import Confidence, Evidence, Rule, odds

LEAST_TOKENS = 4
"""Pausing an answer of fewer tokens saves nothing."""

THRESHOLDS = (0.2, 0.4, 0.6, 0.8)
LOST = 0.01
"""The largest share of right answers above the threshold that may be lost."""


@dataclass(frozen=True)
class Stopping:
    """The effect of pausing at one threshold, as counts.

    kept: right answers at or above the threshold. lost: of these, those that were paused. right, wrong: all answers.
    right_stopped, wrong_stopped: of these, those that were paused. tokens: of all answers. saved: of these, those that
    were not computed.
    """

    threshold: float
    kept: int
    lost: int
    right: int
    right_stopped: int
    wrong: int
    wrong_stopped: int
    tokens: int
    saved: int


def with_slack(rule: Rule, logged: Sequence[Logged]) -> Rule:
    """The rule with the smallest slack that these answers allow; the largest possible one without a right answer."""
    rule = replace(rule, least_tokens=LEAST_TOKENS)
    confidence = Confidence(rule)
    lowest = [(confidence.logit(each.evidence), _lowest(confidence, each)) for each in logged if each.right]
    needed = []
    for threshold in THRESHOLDS:
        kept = sorted(odds(threshold) - low for final, low in lowest if final >= odds(threshold))
        if kept:
            needed.append(kept[min(math.ceil(len(kept) * (1 - LOST)), len(kept) - 1)])
    slack = max(needed) if needed and math.isfinite(max(needed)) else odds(1.0) - odds(0.0)
    return replace(rule, slack=max(slack, 0.0))


def stopped_at(confidence: Confidence, logged: Logged, threshold: float) -> int | None:
    """The number of tokens after which the answer would be paused; None when it would be completed."""
    for part in beginnings(logged.evidence):
        if confidence.hopeless(part, threshold):
            return len(part.logprobs)
    return None


def stopping(judged: Sequence[tuple[Confidence, Logged]], threshold: float) -> Stopping:
    """The effect of pausing at a threshold. judged: each answer with a rule that was not fitted on it."""
    seen = [
        (each, confidence.judge(each.evidence).probability, stopped_at(confidence, each, threshold))
        for confidence, each in judged
    ]
    right = [entry for entry in seen if entry[0].right]
    wrong = [entry for entry in seen if not entry[0].right]
    kept = [entry for entry in right if entry[1] >= threshold]
    return Stopping(
        threshold=threshold,
        kept=len(kept),
        lost=_stopped(kept),
        right=len(right),
        right_stopped=_stopped(right),
        wrong=len(wrong),
        wrong_stopped=_stopped(wrong),
        tokens=sum(len(each.evidence.logprobs) for each, _, _ in seen),
        saved=sum(len(each.evidence.logprobs) - at for each, _, at in seen if at is not None),
    )


def beginnings(evidence: Evidence) -> Iterator[Evidence]:
    """The evidence after each token but the last."""
    for count in range(1, len(evidence.logprobs)):
        yield replace(evidence, logprobs=evidence.logprobs[:count])


def _lowest(confidence: Confidence, logged: Logged) -> float:
    """The lowest logit of a beginning; infinity for an answer that is too short to be paused."""
    return min(
        (
            confidence.logit(part)
            for part in beginnings(logged.evidence)
            if len(part.logprobs) >= confidence.rule.least_tokens
        ),
        default=math.inf,
    )


def _stopped(entries: Sequence[tuple[Logged, float, int | None]]) -> int:
    return sum(at is not None for _, _, at in entries)
