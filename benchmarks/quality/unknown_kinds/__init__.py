"""Pictures of kinds that no bundled adapter is for, made to evaluate routers with.

Nothing here is shared with router.negatives, which the routers are fitted against: other code, other kinds, other
styles.
"""

from __future__ import annotations

from collections.abc import Iterator

import PIL.Image

from benchmarks.quality.unknown_kinds import documents, graphics, interfaces
from benchmarks.quality.unknown_kinds.easel import Easel

KINDS = {**documents.KINDS, **interfaces.KINDS, **graphics.KINDS}


def draw_unknown(each: int) -> Iterator[tuple[str, PIL.Image.Image]]:
    """`each` pictures of every kind, with the kind's name. They are the same in every run."""
    for name, paint in KINDS.items():
        for number in range(each):
            easel = Easel(f"{name} {number}")
            yield name, paint(easel).convert("RGB")
