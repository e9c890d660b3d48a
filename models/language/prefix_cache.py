"""The bookkeeping of a KV cache: which prompt tokens it holds, and under which adapter they were computed.

The keys and values of a position depend on every earlier token and on the adapter that was active. A prefix is
therefore reused only for the same leading tokens under the same adapter (name and generation); `begin` discards
the whole cache when the adapter is another one.

A prompt token is a token id, or a negative number that identifies one row of one encoded image (see
models.language.prompt). The tensors themselves are in models.language.runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

AdapterKey = tuple[str, int] | None
"""(name, generation) of an adapter, or None for the plain language model."""


class PrefixCache:
    """The tokens of one KV cache that is addressed by position.

    begun: the number of prompts so far. A generation compares it to detect that another prompt has taken over
    the cache.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._tokens: list[int] = []
        self._adapter: AdapterKey = None

    def __len__(self) -> int:
        """The number of positions that hold valid keys and values."""
        return len(self._tokens)

    def begin(self, tokens: Sequence[int], adapter: AdapterKey) -> int:
        """Start a prompt and keep the part of the cache that it can reuse.

        tokens: the whole prompt. adapter: the adapter that it runs under.

        Returns how many leading tokens need no prefill, at most len(tokens) - 1: the last token is always
        computed, because its logits are needed. Positions beyond that number are discarded.
        """
        self.begun += 1
        common = 0
        if adapter == self._adapter:
            limit = min(len(self._tokens), len(tokens) - 1)
            while common < limit and self._tokens[common] == tokens[common]:
                common += 1
        del self._tokens[common:]
        self._adapter = adapter
        return common

    def extend(self, tokens: Sequence[int]) -> None:
        """Record that the keys and values of these tokens now follow those already in the cache."""
        self._tokens.extend(tokens)
