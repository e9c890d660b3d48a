"""Which answers are kept on the device at a threshold: right ones in scope, and those that are never right.

An answer is kept when its confidence is at least the threshold. A decline has no confidence and is never kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.evaluation.confidence import Judged
from edge_app.evaluation.rows import EvaluationRow

ALL = "all"


@dataclass(frozen=True)
class KeptCount:
    """kept of rows."""

    kept: int
    rows: int


@dataclass(frozen=True)
class KeptShares:
    """One kind of image, or all of them.

    out, chat: answers to questions out of scope and to chat. right, wrong: answers in scope. as_users: the same four
    when the adapter is one without data (Judged.without).
    """

    kind: str
    out: KeptCount
    chat: KeptCount
    right: KeptCount
    wrong: KeptCount
    as_users: tuple[KeptCount, KeptCount, KeptCount, KeptCount]


def kept_shares(
    judged: Sequence[Judged], declined: Sequence[EvaluationRow], threshold: float
) -> list[KeptShares]:
    """A line for each set, in their order, and one for all.

    declined: the rows that have no confidence (edge_app.evaluation.confidence.judgeable); they are not kept.
    """
    kinds = list(dict.fromkeys(each.row.set for each in judged))
    return [_shares(kind, judged, declined, threshold) for kind in (*kinds, ALL)]


def _shares(
    kind: str, judged: Sequence[Judged], declined: Sequence[EvaluationRow], threshold: float
) -> KeptShares:
    own = [each for each in judged if kind in (ALL, each.row.set)]
    rows = Counter(_group(each.row, right=each.logged.right) for each in own)
    rows.update(_group(row, right=False) for row in declined if kind in (ALL, row.set))

    def shares(kept: Sequence[Judged]) -> tuple[KeptCount, KeptCount, KeptCount, KeptCount]:
        counted = Counter(_group(each.row, right=each.logged.right) for each in kept)
        out, chat, right, wrong = (
            KeptCount(counted[group], rows[group]) for group in ("out", "chat", "right", "wrong")
        )
        return out, chat, right, wrong

    return KeptShares(
        kind,
        *shares([each for each in own if each.probability >= threshold]),
        shares([each for each in own if each.without >= threshold]),
    )


def _group(row: EvaluationRow, *, right: bool) -> str:
    return row.scope if row.scope != "in" else "right" if right else "wrong"
