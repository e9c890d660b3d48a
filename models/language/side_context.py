"""What the plain language model makes of a text beside the conversation: its hidden state, its choice of words.

Computed in a small KV cache of its own, over the same weights, so that what the conversation's cache holds stays
good. No adapter is ever active here. Belongs to the engine's thread. Knows nothing of what its results are for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.language.prefix_cache import PrefixCache
from models.language.prompt import Prompt
from models.language.runtime import LlamaRuntime
from models.language.sampling import Logits

CONTEXT = 2048
"""Positions at most. The cache is zeroed memory, which takes no room before it is written to."""

MAX_ROWS = 128
"""Rows of a kernel call: scratch memory grows with it, and most texts here are one question."""


class Aside:
    """make: the runtime, of its own cache; called at the first use."""

    def __init__(self, make: Callable[[], LlamaRuntime]) -> None:
        self._make = make
        self._made: LlamaRuntime | None = None
        self._prefix = PrefixCache()  # texts that are read for their state begin alike

    def state(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The final hidden state [hidden] after these tokens. Raises ValueError for none and for over CONTEXT."""
        runtime = self._runtime()
        known = self._prefix.begin(tokens, None)
        runtime.prefill(np.array(tokens[known:], np.int32), None, known)
        self._prefix.extend(tokens[known:])
        return runtime.hidden_state()

    def shares(self, prompt: Prompt, options: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """The probability [options] of each continuation of a prompt when nothing else may be said.

        options: token ids, none of which begins another. At every token only what leads to an option is allowed,
        so the shares add up to 1; where there is no choice nothing is computed. Raises ValueError when prompt and
        options are longer than CONTEXT.
        """
        runtime, atoms = self._runtime(), prompt.atoms
        if len(atoms) + max(map(len, options)) > runtime.context_length:
            raise ValueError(f"{len(atoms)} tokens and their continuations do not fit {CONTEXT}")
        self._prefix.begin((), None)
        logits = runtime.prefill(*prompt.inputs(0, len(atoms)), 0)
        shares = np.zeros(len(options))
        self._share_out(1.0, dict(enumerate(options)), logits, len(atoms), shares)
        return shares

    def _share_out(
        self,
        mass: float,
        left: Mapping[int, Sequence[int]],
        logits: Logits,
        position: int,
        shares: NDArray[np.float64],
    ) -> None:
        """Divide mass among options by what is left of each. logits: before its first token, at position."""
        if len(left) == 1:
            shares[next(iter(left))] = mass
            return
        branches: dict[int, dict[int, Sequence[int]]] = defaultdict(dict)
        for number, tokens in left.items():
            branches[tokens[0]][number] = tokens[1:]
        heads = np.array([logits[token] for token in branches], np.float64)
        odds = np.exp(heads - heads.max())
        for own, (token, branch) in zip(mass * odds / odds.sum(), branches.items(), strict=True):
            after = self._runtime().decode(token, position) if len(branch) > 1 else logits
            self._share_out(float(own), branch, after, position + 1, shares)

    def _runtime(self) -> LlamaRuntime:
        if self._made is None:
            self._made = self._make()
        return self._made
