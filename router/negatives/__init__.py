"""Draws pictures that no adapter is made for: the negatives that image heads are fitted against."""

from __future__ import annotations

from collections.abc import Iterator

import PIL.Image

from router.negatives import diagrams, drawings, pages, screens, terminals, textures
from router.negatives.rephotograph import photographed
from router.negatives.sketch import Kinds, Sketch

PHOTOGRAPHED = 0.2
"""Share of pages, screens and diagrams that are shown as if photographed."""

FAMILIES: dict[str, Kinds] = {
    "pages": pages.KINDS,
    "screens": {**screens.KINDS, **terminals.KINDS},
    "drawings": drawings.KINDS,
    "diagrams": diagrams.KINDS,
    "textures": textures.KINDS,
}


def draw_negatives(seed: int, each: int) -> Iterator[tuple[str, PIL.Image.Image]]:
    """Pictures with their names, "family-kind-number". The same arguments give the same pictures."""
    for family, kinds in FAMILIES.items():
        for kind, (draw, shapes) in kinds.items():
            for number in range(each):
                name = f"{family}-{kind}-{number:03}"
                sketch = Sketch(f"{seed} {name}", shapes)
                draw(sketch)
                if family in ("pages", "screens", "diagrams") and sketch.chance(PHOTOGRAPHED):
                    yield name, photographed(sketch)
                else:
                    yield name, sketch.image
