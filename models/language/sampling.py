"""Chooses the next token from logits.

The filters run in the order of Hugging Face's generate(): repetition penalty, temperature, top-k, top-p, min-p.
The implementation is our own because transformers' processors need torch, which the app does not install.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.types import Sampling

Logits = NDArray[np.float32]

MOST_LIKELY = 100
"""The most of the likeliest tokens that a token of an answer comes with."""

_NUCLEUS_GUESS = 256  # top-p sorts this many of the largest first, and all of them only if they are too few


def check(sampling: Sampling) -> Sampling:
    """Returns the settings unchanged. Raises UserError that names the first value out of range."""
    ranges = (
        ("temperature", sampling.temperature, 0.0, 5.0),
        ("top_k", sampling.top_k, 0, 1_000_000),
        ("top_p", sampling.top_p, 1e-6, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        (
            "repetition_penalty",
            1.0 if sampling.repetition_penalty is None else sampling.repetition_penalty,
            0.1,
            10.0,
        ),
        ("max_tokens", sampling.max_tokens, 1, 1_000_000),
        ("top_logprobs", sampling.top_logprobs or 0, 0, MOST_LIKELY),
    )
    for name, value, low, high in ranges:
        if not low <= value <= high:  # also false for NaN
            raise UserError(f"{name} is {value}; it must lie between {low:g} and {high:g}.")
    if any(not stop for stop in sampling.stop):
        raise UserError("A stop sequence is empty; give at least one character.")
    return sampling


def check_finite(logits: Logits) -> None:
    """Raises UserError when a logit is NaN or infinite, which extreme adapter weights can cause."""
    if not np.isfinite(logits.max()):
        raise UserError("The model computed values that are no numbers; answer without the adapter in use.")


class Permitted(Protocol):
    """The tokens that may come next."""

    def permits(self, token: int) -> bool:
        """Whether a token is one of them. Takes less work than `allowed`."""
        ...

    def allowed(self) -> NDArray[np.bool_]:
        """All of them, bool [vocab]."""
        ...


class Sampler:
    """Draws the tokens of one answer. The same seed and logits give the same tokens.

    The repetition penalty applies to tokens of this answer, not of the prompt. A small model repeats itself
    without the penalty, but must be able to use the words of the question.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = check(sampling)
        self._random = np.random.default_rng(sampling.seed)
        self._said: set[int] = set()

    def choose(self, logits: Logits, choice: Permitted | None = None) -> tuple[int, float]:
        """Choose the next token.

        logits: float32 [vocab], not modified. choice: the tokens to choose among; None for all.

        Returns the token's id and its natural log-probability under softmax(logits), before penalty, temperature
        and filters. Raises UserError when a logit is NaN or infinite, which extreme adapter weights can cause.
        """
        check_finite(logits)
        penalised = self._penalise(logits)
        if self._sampling.temperature != 0.0:
            token = self._draw(penalised if choice is None else _masked(penalised, choice))
        else:
            token = int(penalised.argmax())
            if choice is not None and not choice.permits(token):
                token = int(_masked(penalised, choice).argmax())
        self._said.add(token)
        return token, log_probability(logits, token)

    def _penalise(self, logits: Logits) -> Logits:
        """Divide positive and multiply negative logits of tokens said before (CTRL, arXiv 1909.05858, section 4.1)."""
        penalty = self._sampling.repetition_penalty
        if penalty is None or penalty == 1.0 or not self._said:
            return logits
        penalised = logits.copy()
        ids = np.fromiter(self._said, dtype=np.int64)
        values = penalised[ids]  # [tokens said]
        # For a penalty above 1, both branches make a token less likely.
        penalised[ids] = np.where(values > 0, values / penalty, values * penalty)
        return penalised

    def _draw(self, logits: Logits) -> int:
        """Draw a token id from logits [vocab] after temperature and filters."""
        with np.errstate(over="ignore"):  # a temperature close to 0 gives -inf, whose weight is 0
            scaled = (logits.astype(np.float64) - float(logits.max())) / self._sampling.temperature
        ids = _largest(scaled, self._sampling.top_k)  # [k], or [vocab] without top-k
        weights = np.exp(scaled[ids])  # at most 1, because the maximum was subtracted
        probabilities = weights / weights.sum()
        ids, probabilities = _nucleus(ids, probabilities, self._sampling.top_p)
        keep = probabilities >= self._sampling.min_p * probabilities.max()
        ids, probabilities = ids[keep], probabilities[keep]
        return int(ids[self._random.choice(len(ids), p=probabilities / probabilities.sum())])


def _masked(logits: Logits, choice: Permitted) -> Logits:
    return np.where(choice.allowed(), logits, np.float32(-np.inf))


def log_probability(logits: Logits, token: int) -> float:
    """The natural logarithm of softmax(logits)[token], summed in float64."""
    top = logits.max()
    return float(logits[token] - top) - float(np.log(np.exp(logits - top).sum(dtype=np.float64)))


def likeliest(logits: Logits, count: int) -> list[tuple[int, float]]:
    """The `count` likeliest tokens with their log-probabilities, the likeliest first. logits: float32 [vocab]."""
    if count == 0:
        return []
    ids = _largest(logits.astype(np.float64), count)[:count]
    return [(int(token), log_probability(logits, int(token))) for token in ids]


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest values, largest first. A count of 0 returns all indices, unsorted."""
    if count == 0 or count >= len(values):
        return np.arange(len(values))
    chosen = np.argpartition(values, -count)[-count:]
    return chosen[np.argsort(values[chosen])[::-1]]


def _nucleus(
    ids: NDArray[np.intp], probabilities: NDArray[np.float64], top_p: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The smallest set of most likely ids whose probabilities reach top_p (Holtzman et al. 2020)."""
    if top_p >= 1.0:
        return ids, probabilities
    order = _largest(probabilities, _NUCLEUS_GUESS)
    if len(order) == len(ids) or probabilities[order].sum() < top_p:
        order = np.argsort(probabilities)[::-1]
    within = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1
    return ids[order[:within]], probabilities[order[:within]]
