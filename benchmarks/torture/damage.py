"""Damaged copies of valid files, and made-up JSON, as strategies of hypothesis, which shrinks a failing input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

Kind = Literal["overwrite", "insert", "delete", "cut", "repeat", "number"]
KINDS: tuple[Kind, ...] = ("overwrite", "insert", "delete", "cut", "repeat", "number")

NUMBERS = tuple(
    value.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for order in ("little", "big")
    for value in (0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1)
)
"""Integers at the ends of their ranges, which sizes and counts in a header are damaged to."""

LONGEST_REPEAT = 4096


@dataclass(frozen=True)
class Damage:
    """One change of a file. place: where, as a share of its length. data: what is written. size: of what goes."""

    kind: Kind
    place: float
    data: bytes
    size: int

    def apply(self, content: bytes) -> bytes:
        at = min(int(self.place * len(content)), len(content))
        if self.kind == "cut":
            return content[:at]
        if self.kind == "delete":
            return content[:at] + content[at + self.size :]
        if self.kind == "insert":
            return content[:at] + self.data + content[at:]
        if self.kind == "repeat":
            return content[:at] + content[at : at + min(self.size, LONGEST_REPEAT)] * 3 + content[at:]
        return content[:at] + self.data + content[at + len(self.data) :]


def damages() -> st.SearchStrategy[Damage]:
    """One change: headers are at the beginning, so half of the places are in the first twentieth."""
    place = st.floats(0, 1) | st.floats(0, 0.05)
    numbers = st.builds(Damage, st.just("number"), place, st.sampled_from(NUMBERS), st.just(0))
    return numbers | st.builds(
        Damage, st.sampled_from(KINDS), place, st.binary(max_size=16), st.integers(0, 256)
    )


def damaged(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A valid file with one to four changes."""

    def changed(content: bytes, changes: list[Damage]) -> bytes:
        for change in changes:
            content = change.apply(content)
        return content

    return st.builds(changed, st.sampled_from(samples), st.lists(damages(), min_size=1, max_size=4))


def json_values(keys: Sequence[str], words: Sequence[str]) -> st.SearchStrategy[Any]:
    """JSON values. keys: that the reader knows, for objects. words: strings that it knows."""
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats()
        | st.text(max_size=12)
        | st.sampled_from(words)
    )
    names = st.sampled_from(keys) | st.text(max_size=8)
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=6),
        max_leaves=24,
    )


def json_objects(keys: Sequence[str], words: Sequence[str]) -> st.SearchStrategy[bytes]:
    """JSON objects as UTF-8, with lone surrogates where a text has them."""
    names = st.sampled_from(keys)
    objects = st.dictionaries(names, json_values(keys, words), max_size=8)
    return objects.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
