"""The shares of continuations over a model of made-up logits, in float64 by the definition: no weights are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from models.language.prompt import Prompt
from models.language.sampling import Logits
from models.language.side_context import SideContext

PROMPT = [3, 1, 4]


class MadeUpRuntime:
    """Logits that depend on the whole history. Its buffer of logits is overwritten by each call, as the kernels'."""

    context_length = 8

    def __init__(self) -> None:
        self.history: dict[int, int] = {}
        self.decoded: list[tuple[int, int]] = []
        self._logits = np.zeros(16, np.float32)

    def prefill(self, tokens: Sequence[int], rows: object, position: int) -> Logits:
        del rows
        self.history = {position + i: token for i, token in enumerate(tokens)}
        return self._answer(len(tokens))

    def decode(self, token: int, position: int) -> Logits:
        self.decoded.append((token, position))
        self.history[position] = token
        return self._answer(position + 1)

    def _answer(self, length: int) -> Logits:
        self._logits[:] = logits_after([self.history[i] for i in range(length)])
        return self._logits


def logits_after(tokens: Sequence[int]) -> Logits:
    return np.random.default_rng(list(tokens)).normal(0, 2, 16).astype(np.float32)


def expected(options: Sequence[Sequence[int]]) -> list[float]:
    """The product over each option's tokens of the softmax among the tokens that may stand there."""
    shares = []
    for option in options:
        share = 1.0
        for i, token in enumerate(option):
            logits = logits_after([*PROMPT, *option[:i]])
            may = {other[i] for other in options if list(other[:i]) == list(option[:i])}
            share *= math.exp(logits[token]) / sum(math.exp(logits[other]) for other in may)
        shares.append(share)
    return shares


@pytest.mark.parametrize(
    ("options", "computed"),
    [
        ([[5], [6]], []),
        ([[5, 7], [6, 8]], []),  # after the first token each option is the only one left
        ([[5, 7, 9], [5, 8], [6]], [(5, 3)]),
        ([[5, 7, 9], [5, 7, 2], [5, 8], [6, 1], [6, 2]], [(5, 3), (7, 4), (6, 3)]),
    ],
)
def test_each_option_has_its_probability_and_only_branching_positions_are_computed(
    options: list[list[int]], computed: list[tuple[int, int]]
) -> None:
    runtime = MadeUpRuntime()
    shares = SideContext(lambda: runtime).shares(Prompt(PROMPT, ()), options)  # type: ignore[arg-type, return-value]
    assert shares == pytest.approx(expected(options))
    assert shares.sum() == pytest.approx(1)
    assert runtime.decoded == computed


def test_the_longest_option_must_fit_the_context() -> None:
    side = SideContext(MadeUpRuntime)  # type: ignore[arg-type]
    side.shares(Prompt(PROMPT, ()), [[5], [6] * 5])
    with pytest.raises(ValueError, match="do not fit"):
        side.shares(Prompt(PROMPT, ()), [[5], [6] * 6])
