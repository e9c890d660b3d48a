"""Writes a folder of chart images and their questions, in the schema that training and `eval` read.

Splits train and val are drawn with one set of libraries, unseen with another one and with other words. Equal
seeds (and library versions) give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from adapters.training.charts.questions import labels_of, questions_about
from adapters.training.charts.scene import KINDS, Chart, random_chart
from adapters.training.charts.words import TRAINING_WORDS, UNSEEN_WORDS, Words
from models.errors import UserError
from models.files import write_whole

ROWS_FILE: Final = "charts.jsonl"
SPLITS: Final = ("train", "val", "unseen")

Draw = Callable[[Chart, Generator], bytes]


@dataclass(frozen=True)
class Counts:
    """Images a split."""

    train: int
    val: int
    unseen: int


def write_charts(out: Path, seed: int, counts: Counts) -> Iterator[int]:
    """Draw all images into `out` and write charts.jsonl beside them; yields the number of images done.

    Rows: image, question, answer, split, type, labels (what can be seen without reading; see labels_of).
    Raises UserError when a library of the extra [train] is missing or the disk refuses.
    """
    trained, unseen = _drawers()
    rows: list[dict[str, Any]] = []
    done = 0
    for split, count in asdict(counts).items():
        words, draw = (UNSEEN_WORDS, unseen) if split == "unseen" else (TRAINING_WORDS, trained)
        for index in range(count):
            rng = np.random.default_rng([seed, SPLITS.index(split), index])
            chart, picture, new = _example(index, words, draw, rng)
            image = f"{split}_{index + 1:04}.png"
            write_whole(out / image, picture)
            rows += [{"image": image, "split": split, **row, "labels": labels_of(chart)} for row in new]
            done += 1
            yield done
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(out / ROWS_FILE, lines.encode())


def _example(
    index: int, words: Words, draw: Draw, rng: Generator
) -> tuple[Chart, bytes, list[dict[str, str]]]:
    """One chart, its picture and its questions; kinds take turns."""
    chart = random_chart(KINDS[index % len(KINDS)], words, rng)
    questions = [
        {"question": question.text, "answer": question.answer, "type": question.type}
        for question in questions_about(chart, rng)
    ]
    return chart, draw(chart, rng), questions


def _drawers() -> tuple[Draw, Draw]:
    try:
        from adapters.training.charts import altair_charts, matplotlib_charts
    except ImportError as error:
        raise UserError(
            f"Charts cannot be drawn without {error.name}; install it with: pip install 'edge-app[train]'."
        ) from None
    return matplotlib_charts.draw, altair_charts.draw
