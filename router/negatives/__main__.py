"""`python -m router.negatives OUT --seed 0 --each N`: draws N pictures of every kind that no adapter is made for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import PIL.Image

from router.negatives import diagrams, drawings, pages, screens, textures
from router.negatives.rephotograph import photographed
from router.negatives.sketch import Kinds, Sketch

PHOTOGRAPHED = 0.2
"""Share of pages, screens and diagrams that are shown as if photographed."""

FAMILIES: dict[str, Kinds] = {
    "pages": pages.KINDS,
    "screens": screens.KINDS,
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m router.negatives", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the PNG files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=12, help="pictures of every kind")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, image in draw_negatives(options.seed, options.each):
        image.save(options.out / f"{name}.png")
        count += 1
    print(f"{count} pictures in {options.out}")


if __name__ == "__main__":
    main()
