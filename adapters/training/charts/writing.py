"""Writes a folder of chart images and their questions, in the schema that training and `eval` read.

charts.jsonl has the splits train and val. charts_unseen.jsonl is for evaluation only (its split is val): its
charts are drawn with another library and with other words. Equal seeds (and library versions) give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from adapters.training.charts.questions import further_questions, labels_of, questions_about
from adapters.training.charts.scene import KINDS, Chart, random_chart
from adapters.training.charts.words import TRAINING_WORDS, UNSEEN_WORDS, ChartWords
from models.core.errors import UserError
from models.core.files import write_whole

SPLITS: Final = ("train", "val", "unseen")

Draw = Callable[[Chart, Generator], bytes]


@dataclass(frozen=True)
class Counts:
    """Images a split."""

    train: int
    val: int
    unseen: int


def write_charts(out: Path, seed: int, counts: Counts) -> Iterator[int]:
    """Draw all images into `out` and write both files of rows beside them; yields the number of images done.

    Rows: image, question, answer, split, type, labels (what can be seen without reading; see labels_of).
    Raises UserError when a library of the extra [train] is missing or the disk refuses.
    """
    trained, unseen = _drawers()
    rows: dict[str, list[dict[str, Any]]] = {"charts": [], "charts_unseen": []}
    done = 0
    for split, count in asdict(counts).items():
        held_out = split == "unseen"
        words, draw = (UNSEEN_WORDS, unseen) if held_out else (TRAINING_WORDS, trained)
        common = {"split": "val" if held_out else split}
        for index in range(count):
            rng = np.random.default_rng([seed, SPLITS.index(split), index])
            chart, picture, questions = _example(index, words, draw, rng, further=split == "train")
            image = f"{split}_{index + 1:04}.png"
            write_whole(out / image, picture)
            rows["charts_unseen" if held_out else "charts"] += [
                {"image": image, **common, **question, "labels": labels_of(chart)} for question in questions
            ]
            done += 1
            yield done
    for name, written in rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
        write_whole(out / f"{name}.jsonl", lines.encode())


def _example(
    index: int, words: ChartWords, draw: Draw, rng: Generator, further: bool
) -> tuple[Chart, bytes, list[dict[str, str]]]:
    """One chart, its PNG and its rows. The kind follows from the index. further: add further_questions."""
    chart = random_chart(KINDS[index % len(KINDS)], words, rng)
    questions = questions_about(chart, rng)
    if further:
        questions += further_questions(chart, questions, rng.spawn(1)[0])
    rows = [
        {"question": question.text, "answer": question.answer, "type": question.type}
        for question in questions
    ]
    return chart, draw(chart, rng), rows


def _drawers() -> tuple[Draw, Draw]:
    try:
        from adapters.training.charts import altair_charts, matplotlib_charts
    except ImportError as error:
        raise UserError(
            f"Charts cannot be drawn without {error.name}; install it with: pip install -e '.[train]'."
        ) from None
    return matplotlib_charts.draw, altair_charts.draw
