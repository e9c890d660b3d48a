"""Finds the likeliest passage of a page as the answer, or a decline when that is likelier by a margin.

The score of a copy is the log-probability of its first token, plus the sum of those of the n others divided by sqrt(n),
so that a long copy is not at a disadvantage beside a short one. The end token is one of them. Each of the likeliest
first tokens is followed to the end of its copy. One that is less likely than the score of a copy before it cannot win
and is left out, so that a model that is sure computes one copy only.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from models.core.types import LikelyToken
from models.language.copying.passages import Copy, Passages
from models.language.copying.policy import CopyPolicy
from models.language.sampling import Logits, check_finite, log_probability
from models.language.tokenizer import Tokenizer

SURE: Final = 4.0
"""Nats by which the first token of the best copy exceeds all others when it is the answer at once, without a search."""


@dataclass(frozen=True)
class ScoredToken:
    """One token of an answer. logprob, likeliest: as in models.core.types.Token."""

    token: int
    logprob: float
    likeliest: tuple[LikelyToken, ...] = ()


@dataclass(frozen=True)
class CopyModel:
    """What the search computes with.

    decode: computes a token at a number of tokens behind the prompt, and returns the logits after it, float32 [vocab].
    observe: the likeliest tokens of logits, as far as they are asked for. limit: the most tokens of an answer.
    cancel: ends the search.
    """

    tokenizer: Tokenizer
    vocabulary: int
    decode: Callable[[int, int], Logits]
    observe: Callable[[Logits], tuple[LikelyToken, ...]]
    limit: int
    cancel: threading.Event


class CopySearch:
    """The search for one answer.

    pages: the texts to copy from.
    """

    def __init__(self, model: CopyModel, policy: CopyPolicy, pages: Sequence[str]) -> None:
        self._model = model
        self._policy = policy
        self._texts = () if policy.choices else tuple(pages)
        self._pages = Passages(self._texts, policy.choices, policy.excluded)
        self._declines = Passages((), policy.declines)

    def choice(self) -> Copy:
        """All answers that are allowed, to draw one of them token by token."""
        policy = self._policy
        return self._copy(Passages(self._texts, (*policy.choices, *policy.declines), policy.excluded))

    def steps(self, logits: Logits) -> Iterator[ScoredToken]:
        """The tokens of the answer, an end token last unless the limit is reached or the search is cancelled.

        logits: after the prompt, float32 [vocab]. Where the model is sure of the first token, each comes when it is
        computed, else all come when the search is over. Raises UserError when a logit is no number.
        """
        check_finite(logits)
        first = logits.copy()  # the runtime overwrites its own
        copies, declines = self._firsts(self._pages, first), self._firsts(self._declines, first)
        best = copies[0].logprob if copies else -math.inf
        second = copies[1].logprob if len(copies) > 1 else -math.inf
        decline = declines[0].logprob - self._policy.margin if declines else -math.inf
        if best > max(second, decline) + SURE:
            yield from self._follow(self._pages, copies[0])
        elif decline > best + SURE:
            yield from self._follow(self._declines, declines[0])
        elif copies or declines:
            yield from self._search(copies, declines)
        else:
            end = min(self._model.tokenizer.end_ids)
            yield ScoredToken(end, log_probability(first, end), self._model.observe(first))

    def _search(self, copies: Sequence[ScoredToken], declines: Sequence[ScoredToken]) -> list[ScoredToken]:
        best = self._likeliest(self._pages, copies[: self._policy.candidates], -math.inf)
        least = copy_score([step.logprob for step in best]) + self._policy.margin
        return self._likeliest(self._declines, declines, least) or best

    def _likeliest(
        self, passages: Passages, firsts: Sequence[ScoredToken], least: float
    ) -> list[ScoredToken]:
        """The likeliest of the copies that begin with these tokens, the likeliest of which is first; empty when none
        is likelier than `least`."""
        found: list[ScoredToken] = []
        for first in firsts:
            if first.logprob <= least:
                break
            steps = list(self._follow(passages, first))
            score = copy_score([step.logprob for step in steps])
            if score > least:
                found, least = steps, score
        return found

    def _firsts(self, passages: Passages, logits: Logits) -> list[ScoredToken]:
        """The likeliest tokens that a copy may begin with, the likeliest first."""
        tokens = self._copy(passages).tokens()
        ranked = sorted(tokens, key=lambda token: (-float(logits[token]), token))
        likeliest = self._model.observe(logits)
        count = max(self._policy.candidates, 2)
        return [
            ScoredToken(token, log_probability(logits, token), likeliest) for token in islice(ranked, count)
        ]

    def _follow(self, passages: Passages, first: ScoredToken) -> Iterator[ScoredToken]:
        """The copy that begins with a token and goes on with the likeliest one each time."""
        model, copy, step = self._model, self._copy(passages), first
        for count in range(model.limit):
            yield step
            if step.token in model.tokenizer.end_ids or count + 1 == model.limit or model.cancel.is_set():
                return
            copy.accept(step.token)
            logits = model.decode(step.token, count)
            check_finite(logits)
            tokens = copy.tokens() + (sorted(model.tokenizer.end_ids) if copy.may_end else [])
            token = max(tokens, key=lambda each: float(logits[each]))
            step = ScoredToken(token, log_probability(logits, token), model.observe(logits))

    def _copy(self, passages: Passages) -> Copy:
        return Copy(passages, self._model.tokenizer, self._model.vocabulary)


def copy_score(logprobs: Sequence[float]) -> float:
    """The score of a copy by the log-probabilities of its tokens; minus infinity for none."""
    if not logprobs:
        return -math.inf
    first, *others = logprobs
    return first + sum(others) / math.sqrt(max(len(others), 1))
