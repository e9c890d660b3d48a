"""The probability that a local answer is right: a logistic rule over features of the answer and its circumstances.

All adapters share one rule. An adapter with logged answers (`edge-app eval confidence`) adds an offset to the shared
intercept and weights. An adapter without data is judged by the shared rule, and the estimate says so. The rule is read
from two JSON files: the bundled one, and the user's with the offsets of the user's adapters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from models.core.errors import UserError

BUNDLED = Path(__file__).parents[1] / "bundled" / "confidence.json"
FORMAT = 3

NO_ADAPTER = "none"
"""The file's name for answers without an adapter; no adapter can have it."""

BLIND = " without an image"
"""Appended to a name for answers without an image, which have an offset of their own or none."""

FARTHEST = 3.0
"""Bound of a standardised feature, in standard deviations. Nearly all logged answers lie within it."""

BELOW_LOGGED = 1.0
"""Subtracted from the logit for each standard deviation by which the mean token probability lies below -FARTHEST. No
logged answer was so unsure, so the rule has no data to support such an answer."""

SUREST = 1e-4
"""Least distance of a probability from 0 and 1. Differences closer to certainty carry no information."""

SURE_TOKEN = 1e-3
"""Least distance of a token's probability from 1."""

OPENING = 8
"""Tokens at the beginning of an answer, where a long one says what was asked for."""

MOST_SCOPE = 3.0
"""Bound of the scope. A question that is more surely in scope is not answered better."""

FEATURES = ("mean", "low", "least", "whole", "first", "opening", "tokens", "head", "image", "ocr", "scope")


@dataclass(frozen=True)
class Evidence:
    """What an answer, or its beginning, is judged by.

    logprobs: natural logarithm of the model's probability of each token, the end token included.
    adapter: name; None for the plain model. generation: identifies the weights of that name; None before they are
        loaded.
    head: certainty of the projector's heads about the image, 0..1 (models.engine.Engine.certainty).
    ocr: mean recognition probability of the text that was read, 0..1.
    route: the router's probability of its choice, 0..1. margin: the score of the choice minus the next best, where no
        adapter has the score 0. in_text: share of the answer's words that occur in the text that was read, 0..1
        (models.scoring.text_overlap). The rule does not use these three.
    scope: the log-odds that the question is one of the tasks of the adapter, or of the plain model without one.
    policy: identifies how the adapter is asked and how its answers are copied (adapters.store.manifest.policy_digest).

    A value is None when there was no such thing, or when it is not known.
    """

    logprobs: tuple[float, ...]
    adapter: str | None
    generation: int | None
    head: float | None
    route: float | None
    margin: float | None
    has_image: bool
    ocr: float | None
    in_text: float | None = None
    scope: float | None = None
    policy: str | None = None


@dataclass(frozen=True)
class ConfidenceEstimate:
    """The result of judging an answer.

    probability: that the answer is right, 0..1. fitted: False for an adapter without data.
    """

    probability: float
    fitted: bool


@dataclass(frozen=True)
class AdapterOffset:
    """What an adapter adds to the shared intercept and weights.

    generation: of the weights that it was fitted for; other weights of the same name have no data. rows: number of
    answers that it was fitted on. right: how many of them are right. policy: of the answers that it was fitted on, as
    Evidence has it. Answers under another policy have no data. None where that is not known, as in a file of an earlier
    version.
    """

    generation: int | None
    intercept: float
    weights: tuple[float, ...]
    rows: int
    right: int
    policy: str | None = None

    def is_for(self, evidence: Evidence) -> bool:
        """Whether it was fitted on answers of these weights under this policy, as far as that is known."""
        same_policy = None in (self.policy, evidence.policy) or self.policy == evidence.policy
        return self.generation == evidence.generation and same_policy


@dataclass(frozen=True)
class Rule:
    """logit = intercept + weights . clip((features - centre) / scale, -FARTHEST, FARTHEST)

    A missing feature adds nothing. centre, scale, weights: one value for each of FEATURES. adapters: offsets by `kind`.
    slack, least_tokens: see Confidence.hopeless.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    intercept: float
    weights: tuple[float, ...]
    slack: float
    least_tokens: int
    adapters: Mapping[str, AdapterOffset]


class Confidence:
    """Judges answers by a rule. Immutable. An estimate takes microseconds."""

    def __init__(self, rule: Rule, others: Mapping[str, AdapterOffset] | None = None) -> None:
        """others: offsets of the same kinds for other weights, such as those of the embedded default's plain answers
        where the user fitted another model's."""
        self.rule = rule
        self._others = others or {}

    @classmethod
    def load(cls, user_file: Path | None) -> Confidence:
        """The bundled rule, with the offsets of the user's file when it exists and has the form of this version.

        Raises UserError when a file of this form is damaged. See `why_ignored` for one of another form.
        """
        rule = bundled_rule()
        if user_file is None or not user_file.exists() or why_ignored(user_file) is not None:
            return cls(rule)
        return cls(replace(rule, adapters={**rule.adapters, **read_adapters(user_file)}), rule.adapters)

    def judge(self, evidence: Evidence) -> ConfidenceEstimate:
        """An answer without tokens has the probability 0."""
        fitted = self._offset(evidence) is not None
        return ConfidenceEstimate(_probability(self.logit(evidence)) if evidence.logprobs else 0.0, fitted)

    def hopeless(self, evidence_so_far: Evidence, threshold: float) -> bool:
        """Whether the beginning of an answer shows that its probability will be below the threshold at the end.

        It does when, from `least_tokens` tokens on, its logit is more than `slack` below the threshold's log-odds.
        Both were chosen on logged answers. It never does for an adapter without data.
        """
        few = len(evidence_so_far.logprobs) < self.rule.least_tokens
        if few or self._offset(evidence_so_far) is None:
            return False
        return self.logit(evidence_so_far) < odds(threshold) - self.rule.slack

    def logit(self, evidence: Evidence) -> float:
        """Log-odds that the answer is right. Needs at least one token."""
        rule, offset = self.rule, self._offset(evidence)
        logit, beyond = rule.intercept + (offset.intercept if offset else 0.0), 0.0
        for number, value in enumerate(features(evidence)):
            if value is not None:
                weight = rule.weights[number] + (offset.weights[number] if offset else 0.0)
                deviation = (value - rule.centre[number]) / rule.scale[number]
                logit += weight * min(max(deviation, -FARTHEST), FARTHEST)
                if FEATURES[number] == "mean":
                    beyond = max(-FARTHEST - deviation, 0.0)
        return logit - BELOW_LOGGED * beyond

    def _offset(self, evidence: Evidence) -> AdapterOffset | None:
        for offsets in (self.rule.adapters, self._others):
            offset = offsets.get(kind(evidence))
            if offset is not None and offset.is_for(evidence):
                return offset
        return None


def kind(evidence: Evidence) -> str:
    """The key of an offset: the adapter's name, with BLIND appended for answers without an image."""
    return (evidence.adapter or NO_ADAPTER) + ("" if evidence.has_image else BLIND)


def features(evidence: Evidence) -> tuple[float | None, ...]:
    """The values of FEATURES; None for what is missing. Needs at least one token.

    Probabilities are converted to log-odds (odds), because they differ mainly close to 1.

    mean: of the geometric mean of the tokens' probabilities. low: of their lower decile. least: of the least probable
    token. whole: of the product. first: of the first token. opening: of the least probable of the first OPENING tokens.
    tokens: natural logarithm of their number. image: 1 or 0. scope: as in Evidence, at most MOST_SCOPE. All other
    log-odds lie within +-9.2 (SUREST), those of tokens below 6.9 (SURE_TOKEN).
    """
    logprobs, count = evidence.logprobs, len(evidence.logprobs)
    total = sum(logprobs)
    return (
        _log_odds(total / count),
        _log_odds(sorted(logprobs)[count // 10]),
        _log_odds(min(logprobs)),
        _log_odds(total),
        _log_odds(logprobs[0]),
        _log_odds(min(logprobs[:OPENING])),
        math.log(count),
        None if evidence.head is None else odds(evidence.head),
        1.0 if evidence.has_image else 0.0,
        None if evidence.ocr is None else odds(evidence.ocr),
        None if evidence.scope is None else min(evidence.scope, MOST_SCOPE),
    )


def odds(probability: float) -> float:
    """Log-odds of a probability, which is first bounded to SUREST..1 - SUREST."""
    within = min(max(probability, SUREST), 1 - SUREST)
    return math.log(within / (1 - within))


def _log_odds(logprob: float) -> float:
    return odds(min(math.exp(logprob), 1 - SURE_TOKEN))


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


@cache
def bundled_rule() -> Rule:
    """The rule in BUNDLED, read once."""

    content = _read(BUNDLED)
    return Rule(
        centre=_vector(content["centre"], BUNDLED),
        scale=_vector(content["scale"], BUNDLED),
        intercept=float(content["intercept"]),
        weights=_vector(content["weights"], BUNDLED),
        slack=float(content["hopeless"]["slack"]),
        least_tokens=int(content["hopeless"]["least_tokens"]),
        adapters=read_adapters(BUNDLED),
    )


def why_ignored(user_file: Path) -> str | None:
    """A sentence about a user's file that another version of the app wrote, whose format or features are not those of
    this one; None for a file of this form, a damaged one, and none."""
    try:
        content = json.loads(user_file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "format" not in content or _has_this_form(content):
        return None
    return (
        f"{user_file} was fitted by another version of edge-app and is ignored; `edge-app eval confidence` fits your "
        "adapters again."
    )


def read_adapters(file: Path) -> dict[str, AdapterOffset]:
    """The offsets of a file, by `kind`. Raises UserError when it cannot be used."""
    content = _read(file)
    try:
        return {
            str(name): AdapterOffset(
                None if each["generation"] is None else int(each["generation"]),
                float(each["intercept"]),
                _vector(each["weights"], file),
                int(each["rows"]),
                int(each["right"]),
                None if each.get("policy") is None else str(each["policy"]),
            )
            for name, each in content["adapters"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(file) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _unusable(file) from error
    if not isinstance(content, dict) or not _has_this_form(content):
        raise _unusable(file)
    return content


def _has_this_form(content: Mapping[str, Any]) -> bool:
    return content.get("format") == FORMAT and content.get("features") == list(FEATURES)


def _vector(values: Sequence[Any], file: Path) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != len(FEATURES) or not all(math.isfinite(number) for number in numbers):
        raise _unusable(file)
    return numbers


def _unusable(file: Path) -> UserError:
    return UserError(
        f"{file} does not hold a confidence rule of this version; delete it, then `edge-app eval confidence` makes "
        "it again."
    )
