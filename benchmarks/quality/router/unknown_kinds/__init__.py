"""Pictures of kinds that no bundled adapter is for, made to evaluate routers with.

Nothing here is shared with router.negatives, which the routers are fitted against: other code, other kinds, other
styles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import PIL.Image

from benchmarks.quality.router.unknown_kinds import documents, graphics, interfaces
from benchmarks.quality.router.unknown_kinds.easel import Easel

KINDS = {**documents.KINDS, **interfaces.KINDS, **graphics.KINDS}

PAGES_OF_TEXT = frozenset(
    {
        "book_page", "poem", "two_page_photo", "menu", "identity_card", "boarding_pass", "mail", "messenger",
        "file_list", "stop_screen", "source_listing",
    }
)  # fmt: skip
"""Kinds that are mostly lines of readable text, about which an adapter for any page answers or declines. A whiteboard
of strokes, a calendar, a puzzle, a road sign and a diagram are none."""


def draw_unknown(each: int) -> Iterator[tuple[str, PIL.Image.Image]]:
    """`each` pictures of every kind, with the kind's name. They are the same in every run."""
    for name, paint in KINDS.items():
        for number in range(each):
            easel = Easel(f"{name} {number}")
            yield name, paint(easel).convert("RGB")


def write_unknown(folder: Path, each: int) -> Mapping[str, Sequence[Path]]:
    """Writes the pictures of draw_unknown as PNG files; returns the files by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[Path]] = {}
    for name, image in draw_unknown(each):
        own = files.setdefault(name, [])
        own.append(folder / f"{name}-{len(own)}.png")
        image.save(own[-1])
    return files
