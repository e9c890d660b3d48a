"""What the KV cache holds: which atoms, computed under which adapter. Knows nothing of tensors.

An atom is one position of a prompt: a token's id, or a negative number that stands for one row of one encoded
image and is never used for another. Keys and values depend on every earlier atom and on the adapter that was
active, so a prefix is only ever continued under the very adapter (name and generation) that computed it.
"""

from __future__ import annotations

from collections.abc import Sequence

AdapterKey = tuple[str, int] | None
"""(name, generation) of a LoRA, or None for the plain language model."""


class PrefixCache:
    """The bookkeeping of one KV cache that is addressed by position."""

    def __init__(self) -> None:
        self.begun = 0  # prompts so far: tells one that was interrupted that the cache is no longer its own
        self._atoms: list[int] = []
        self._adapter: AdapterKey = None

    def __len__(self) -> int:
        return len(self._atoms)

    def begin(self, atoms: Sequence[int], adapter: AdapterKey) -> int:
        """How many leading atoms of a prompt need no prefill; what lies beyond them is forgotten.

        The last atom is always left to do, since its logits are wanted.
        """
        self.begun += 1
        common = 0
        if adapter == self._adapter:
            limit = min(len(self._atoms), len(atoms) - 1)
            while common < limit and self._atoms[common] == atoms[common]:
                common += 1
        del self._atoms[common:]
        self._adapter = adapter
        return common

    def extend(self, atoms: Sequence[int]) -> None:
        """Note that keys and values of these atoms now follow those already there."""
        self._atoms.extend(atoms)
