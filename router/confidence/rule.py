"""How likely a local answer is right: one small logistic rule over what the device saw while it answered.

The rule is shared by all adapters; an adapter with logged answers of its own (`edge-app eval confidence`) has
an intercept and weights that depart from the shared ones as far as its data say. Adapters without data are
judged by the shared rule alone, and the judgement says so. Reads two JSON files: the bundled rule, and the
user's own adapters beside it. Knows nothing of how it was fitted, nor of what follows from a judgement.
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
FORMAT = 1

NOBODY = "none"
"""What an answer without an adapter is called in the file; adapters cannot be called so."""

BLIND = " without an image"
"""Added to a name for answers without an image: they are another matter, with data of their own or none."""

FARTHEST = 3.0
"""Deviations: a feature that lies farther out than this, beyond nearly all answers that were logged, counts as if
it did not..."""

UNHEARD_OF = 1.0
"""...but a mean token probability farther below takes so much of the logit for each deviation: no answer was logged
of which the model was so unsure, and the rule is not to vouch for one."""

UNFITTED = 0.5
"""The stated default, for what has no data: the logit of the shared rule, so much of it. On sets whose answers were
left out of the fit, the whole of it was too sure."""

SUREST = 1e-4
"""No probability counts as nearer to 0 or 1 than this: beyond it models only boast."""

SURE_TOKEN = 1e-2
"""No token's counts as nearer to 1 than this: nearly all are, and what tells answers apart are those that are not."""

FEATURES = ("mean", "low", "least", "whole", "tokens", "head", "route", "margin", "image", "ocr")


@dataclass(frozen=True)
class Evidence:
    """What there is to judge an answer by, or as much of it as has come.

    logprobs: natural log of the model's own probability of each token, the end token included.
    adapter: None for the plain model; generation: which one of that name (models.lora.weights.LoraWeights), or which
    model; None before it is known. head: how sure the heads that saw the image are of their best words
    (models.engine.Engine.certainty). route: the router's probability of its choice; margin: by how much the score
    of what it chose exceeds the next (no adapter has 0). ocr: mean recognition probability of the text read.
    None: there was no such thing.
    """

    logprobs: tuple[float, ...]
    adapter: str | None
    generation: int | None
    head: float | None
    route: float | None
    margin: float | None
    has_image: bool
    ocr: float | None


@dataclass(frozen=True)
class Judgement:
    """probability: that the answer is right, 0..1. fitted: False for an adapter of which there are no data."""

    probability: float
    fitted: bool


@dataclass(frozen=True)
class Own:
    """What an adapter adds to the shared intercept and weights. generation: of the adapter that it was fitted for;
    another one of that name has no data. rows: answers it was fitted on; right: of them."""

    generation: int | None
    intercept: float
    weights: tuple[float, ...]
    rows: int
    right: int


@dataclass(frozen=True)
class Rule:
    """logit = intercept + weights · (features - centre) / scale; a feature that is missing adds nothing.

    adapters: by `kind`.

    slack, least_tokens: when a prefix is hopeless, see Confidence.hopeless.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    intercept: float
    weights: tuple[float, ...]
    slack: float
    least_tokens: int
    adapters: Mapping[str, Own]


class Confidence:
    """Judges answers by a rule. Immutable and cheap: a judgement takes microseconds."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    @classmethod
    def load(cls, user_file: Path | None) -> Confidence:
        """The bundled rule with the adapters of the user's file, if there is one, on top.

        Raises UserError for a user's file that does not fit.
        """
        rule = bundled_rule()
        if user_file is None or not user_file.exists():
            return cls(rule)
        return cls(replace(rule, adapters={**rule.adapters, **read_adapters(user_file)}))

    def judge(self, evidence: Evidence) -> Judgement:
        """An answer of which nothing came is not right."""
        fitted = self._own(evidence) is not None
        return Judgement(_probability(self.logit(evidence)) if evidence.logprobs else 0.0, fitted)

    def hopeless(self, evidence_so_far: Evidence, threshold: float) -> bool:
        """Whether the beginning of an answer alone says that the whole will not reach the threshold.

        It is when, `least_tokens` into the answer, the rule's logit for the beginning lies more than `slack`
        below the threshold's; both were chosen from logged answers. Never for an adapter without data.
        """
        few = len(evidence_so_far.logprobs) < self.rule.least_tokens
        if few or self._own(evidence_so_far) is None:
            return False
        return self.logit(evidence_so_far) < odds(threshold) - self.rule.slack

    def logit(self, evidence: Evidence) -> float:
        """The logarithm of the odds that the answer is right. At least one token must have come."""
        rule, own = self.rule, self._own(evidence)
        logit, beyond = rule.intercept + (own.intercept if own else 0.0), 0.0
        for number, value in enumerate(features(evidence)):
            if value is not None:
                weight = rule.weights[number] + (own.weights[number] if own else 0.0)
                apart = (value - rule.centre[number]) / rule.scale[number]
                logit += weight * min(max(apart, -FARTHEST), FARTHEST)
                if FEATURES[number] == "mean":
                    beyond = max(-FARTHEST - apart, 0.0)
        return (logit if own else UNFITTED * logit) - UNHEARD_OF * beyond

    def _own(self, evidence: Evidence) -> Own | None:
        own = self.rule.adapters.get(kind(evidence))
        return own if own is not None and own.generation == evidence.generation else None


def kind(evidence: Evidence) -> str:
    """What has data of its own, or not: an adapter's answers, with an image or without."""
    return (evidence.adapter or NOBODY) + ("" if evidence.has_image else BLIND)


def features(evidence: Evidence) -> tuple[float | None, ...]:
    """In the order of FEATURES; None for what is missing. At least one token must have come.

    Probabilities become logarithms of odds, since what tells answers apart lies close to 1. mean: geometric
    mean of the tokens' probabilities; low: their lower decile; least, whole: of the least sure token, and of all
    together. tokens: logarithm of their number.
    """
    logprobs, count = evidence.logprobs, len(evidence.logprobs)
    total = sum(logprobs)
    return (
        _log_odds(total / count),
        _log_odds(sorted(logprobs)[count // 10]),
        _log_odds(min(logprobs)),
        _log_odds(total),
        math.log(count),
        None if evidence.head is None else odds(evidence.head),
        None if evidence.route is None else odds(evidence.route),
        evidence.margin,
        1.0 if evidence.has_image else 0.0,
        None if evidence.ocr is None else odds(evidence.ocr),
    )


def odds(probability: float) -> float:
    """The logarithm of the odds, within SUREST of certainty."""
    within = min(max(probability, SUREST), 1 - SUREST)
    return math.log(within / (1 - within))


def _log_odds(logprob: float) -> float:
    return odds(min(math.exp(logprob), 1 - SURE_TOKEN))


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


@cache
def bundled_rule() -> Rule:
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


def read_adapters(file: Path) -> dict[str, Own]:
    """The adapters with data of their own, by name. Raises UserError when the file does not fit."""
    content = _read(file)
    try:
        return {
            str(name): Own(
                None if each["generation"] is None else int(each["generation"]),
                float(each["intercept"]),
                _vector(each["weights"], file),
                int(each["rows"]),
                int(each["right"]),
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
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _unusable(file)
    if content.get("features") != list(FEATURES):
        raise _unusable(file)
    return content


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
