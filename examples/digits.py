"""Handwritten digits, as labelled images to train an adapter with.

Writes FOLDER/digits.jsonl and one PNG file per row: 240 rows of the split "train" and 120 of the split "val", each
digit equally often, no image in both. `edge-app adapters train` and `edge-app eval` read this format.

The images come with scikit-learn (UCI, Optical Recognition of Handwritten Digits, CC BY 4.0): 8 x 8 pixels, 0 to 16.
They are drawn as dark ink on white, 224 x 224.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

QUESTION = "Which digit is this?"
ANSWERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE = 224  # pixels


def draw_split(labels: NDArray[np.int64], train: int, val: int, seed: int) -> dict[str, list[int]]:
    """Indices of images by split. Each digit occurs train // 10 and val // 10 times.

    labels: [n], 0 to 9.
    """
    random = np.random.default_rng(seed)
    indices = [random.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    each = train // 10
    return {
        "train": [int(index) for of_digit in indices for index in of_digit[:each]],
        "val": [int(index) for of_digit in indices for index in of_digit[each : each + val // 10]],
    }


def to_image(grey: NDArray[np.float64]) -> Image.Image:
    """grey: [8, 8], from 0 (paper) to 16 (ink)."""
    pixels = 255 - np.round(grey * (255 / 16)).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def write(folder: Path, train: int, val: int, seed: int) -> Path:
    """Writes the images and returns the path of digits.jsonl."""
    digits = load_digits()  # images [1797, 8, 8], target [1797]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, indices in draw_split(digits.target, train, val, seed).items():
        for number, index in enumerate(indices):
            name = f"{split}-{number:03}.png"
            to_image(digits.images[index]).save(folder / name)
            answer = ANSWERS[digits.target[index]]
            rows.append(
                {"image": name, "question": QUESTION, "answer": answer, "type": "digit", "split": split}
            )
    file = folder / "digits.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description="Write handwritten digits as labelled images.")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--train", type=int, default=240, metavar="N", help="images to learn from [240]")
    parser.add_argument(
        "--val", type=int, default=120, metavar="N", help="unseen images to measure with [120]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which images are drawn [0]")
    given = parser.parse_args()
    file = write(given.folder, given.train, given.val, given.seed)
    print(f"{file}: {given.train} images to learn from, {given.val} unseen ones to measure with")


if __name__ == "__main__":
    main()
