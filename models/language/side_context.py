"""A second, small KV cache over the same weights, for texts that are not part of the conversation.

The router `model` reads next-token probabilities of such texts, which are computed without any adapter. The
conversation's own KV cache stays valid. One thread must make all calls: the engine's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.language.prompt import Prompt
from models.language.runtime import LlamaRuntime
from models.language.sampling import Logits

CONTEXT = 2048
"""The number of positions. The cache is zeroed memory, which takes no space until it is written."""

MAX_ROWS = 128
"""Rows of one kernel call. Scratch memory grows with this number."""


class SideContext:
    """Runs texts of at most CONTEXT tokens through the language model."""

    def __init__(self, make: Callable[[], LlamaRuntime]) -> None:
        """make: makes the runtime with its own KV cache. It is called at the first use."""
        self._make = make
        self._made: LlamaRuntime | None = None

    def shares(self, prompt: Prompt, options: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """The probability of each option after a prompt, given that one of the options follows.

        options: the token ids of each option; none may be a prefix of another. At every position the softmax runs
        over the tokens that continue at least one remaining option. A position with one possible token is not
        computed.

        Returns float64 [options], which sum to 1. Raises ValueError when the prompt and the longest option
        together exceed CONTEXT.
        """
        runtime, tokens = self._runtime(), prompt.tokens
        if len(tokens) + max(map(len, options)) > runtime.context_length:
            raise ValueError(f"{len(tokens)} tokens and their continuations do not fit {CONTEXT}")
        logits = runtime.prefill(*prompt.inputs(0, len(tokens)), 0)
        shares = np.zeros(len(options))
        self._share_out(1.0, dict(enumerate(options)), logits, len(tokens), shares)
        return shares

    def _share_out(
        self,
        mass: float,
        left: Mapping[int, Sequence[int]],
        logits: Logits,
        position: int,
        shares: NDArray[np.float64],
    ) -> None:
        """Distribute `mass` over the options in `left` and write each one's probability to `shares`.

        left: the remaining token ids by option number. logits: of the next token, which goes to `position`.
        """
        if len(left) == 1:
            shares[next(iter(left))] = mass
            return
        branches: dict[int, dict[int, Sequence[int]]] = defaultdict(dict)
        for number, tokens in left.items():
            branches[tokens[0]][number] = tokens[1:]
        # A copy: decode below overwrites the runtime's logits. Softmax over the branches' first tokens.
        allowed = np.array([logits[token] for token in branches], np.float64)
        weights = np.exp(allowed - allowed.max())
        for own, (token, branch) in zip(mass * weights / weights.sum(), branches.items(), strict=True):
            after = self._runtime().decode(token, position) if len(branch) > 1 else logits
            self._share_out(float(own), branch, after, position + 1, shares)

    def _runtime(self) -> LlamaRuntime:
        if self._made is None:
            self._made = self._make()
        return self._made
