"""`python -m benchmarks.quality.pages.read_text receipts_ocr.jsonl`: how much of the text that is read is right.

A row has an image, its split, and `ocr_lines`, the lines that a person wrote down. Each image is read as it is and in
worse copies. The share of words that are right, compared as in models.scoring.answer_rules.normalise, is set against
the mean recognition probability p of the page, and logit(share) = intercept + slope * logit(p) is fitted to it for
edge_app/turns/replies/text_replies.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from edge_app.evaluation.rows import evenly_spread
from models.core.images import load_image
from models.core.types import Image
from models.ocr.columns import transcript
from models.ocr.reader import TextReader
from models.scoring.answer_rules import normalise
from router.confidence.rule import odds

NOISE: Final = {"as it is": (0.0, 0.0), "noise": (35.0, 0.0), "blur": (12.0, 1.2), "both": (50.0, 1.0)}
"""Worse copies: standard deviation of the noise in grey levels, and radius of the blur before it in pixels."""

STEPS: Final = 50


@dataclass(frozen=True)
class ReadShare:
    """A page that was read. copy: a key of NOISE. probability: mean recognition probability, 0..1. words: that were
    read. right: of these, those that a person wrote down too."""

    copy: str
    probability: float
    words: int
    right: int


def worse(image: Image, noise: float, blur: float, seed: int) -> Image:
    """A blurred copy with noise, as in NOISE."""
    blurred = PIL.Image.fromarray(image.pixels).filter(PIL.ImageFilter.GaussianBlur(blur))
    grain = np.random.default_rng(seed).normal(0.0, noise, (*image.pixels.shape[:2], 1))
    pixels = np.clip(np.asarray(blurred, np.float32) + grain, 0, 255).astype(np.uint8)
    return replace(image, pixels=pixels, digest=f"{image.digest}+{noise}+{blur}")


def right_words(read: Sequence[str], written: Sequence[str]) -> int:
    """How many words that were read were written down too, each as often as it was written."""
    return sum((Counter(read) & Counter(written)).values())


def read_shares(file: Path, split: str, most: int) -> Iterator[ReadShare]:
    """Reads images of a split, evenly spread over the file. Pages without a word are left out."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    reader = TextReader()
    for seed, row in enumerate(evenly_spread([row for row in rows if row["split"] == split], most)):
        image = load_image(file.parent / row["image"])
        for copy, (noise, blur) in NOISE.items():
            page = reader.read(worse(image, noise, blur, seed) if noise or blur else image)
            words = normalise(transcript(page)).split()
            if words:
                written = normalise(" ".join(row["ocr_lines"])).split()
                yield ReadShare(copy, page.probability, len(words), right_words(words, written))


def fitted(pages: Sequence[ReadShare]) -> tuple[float, float]:
    """Intercept and slope of the logistic regression of right words, where every page counts the same."""
    x = np.array([[1.0, odds(page.probability)] for page in pages])
    share = np.array([page.right / page.words for page in pages])
    found: NDArray[np.float64] = np.zeros(2)
    for _ in range(STEPS):
        expected = 1 / (1 + np.exp(-x @ found))
        curvature = (x * (expected * (1 - expected))[:, None]).T @ x + 1e-9 * np.eye(2)
        found = found + np.linalg.solve(curvature, x.T @ (share - expected))
    return float(found[0]), float(found[1])


def table(pages: Sequence[ReadShare], line: tuple[float, float]) -> str:
    """By copy: pages, mean recognition probability, mean share by the fitted line, and the true share."""
    lines = [f"{'copy':10} pages  recognition  fitted  right"]
    for copy in NOISE:
        own = [page for page in pages if page.copy == copy]
        if own:
            said = np.mean([page.probability for page in own])
            fit = np.mean([1 / (1 + np.exp(-line[0] - line[1] * odds(page.probability))) for page in own])
            right = np.mean([page.right / page.words for page in own])
            lines.append(f"{copy:10} {len(own):5}  {said:11.3f}  {fit:6.3f}  {right:5.3f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--limit", type=int, default=60, help="images of each split [default: 60]")
    arguments = parser.parse_args()
    train, val = (list(read_shares(arguments.file, split, arguments.limit)) for split in ("train", "val"))
    line = fitted(train)
    sys.stdout.write(f"logit(share right) = {line[0]:.3f} + {line[1]:.3f} logit(recognition probability)\n")
    sys.stdout.write(f"fitted on: train\n{table(train, line)}\nval\n{table(val, line)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
