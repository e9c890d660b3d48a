"""`python -m router.negatives OUT --seed 0 --each N`: draws N pictures of every kind that no adapter is made for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from router.negatives import draw_negatives


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
