"""`python -m benchmarks.quality.pages.tilted_pages receipts.jsonl`: answers about pages that are tilted or turned.

Each image is turned by each angle, with a table top's brown around it, and the questions of one type are asked again.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from edge_app.assistant import Assistant
from edge_app.evaluation.rows import EvaluationRow, read_rows
from edge_app.settings import for_this_process
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Image
from models.ocr.page_layout import PageText
from models.ocr.reader import TextReader
from models.scoring.answer_rules import is_right

ANGLES = (0, 3, -3, 5, -5, 8, -8, 10, -10, 12, -12, 90, 180, 270)
TABLE_TOP = (120, 100, 80)


@dataclass(frozen=True)
class TiltScore:
    """Answers about pages turned by an angle, degrees anticlockwise. read_ms: mean time to read a page."""

    angle: int
    rows: int
    right: int
    read_ms: float


def turned(image: Image, angle: int) -> Image:
    """The image turned anticlockwise, with a canvas that holds all of it."""
    picture = PIL.Image.fromarray(image.pixels)
    if angle:
        picture = picture.rotate(
            angle, expand=True, fillcolor=TABLE_TOP, resample=PIL.Image.Resampling.BICUBIC
        )
    return Image(np.asarray(picture), f"{image.digest} {angle}", image.name)


class TimedReader(TextReader):
    """Notes how long each page takes, seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        started = time.perf_counter()
        page = super().read(image, cancel)
        self.seconds.append(time.perf_counter() - started)
        return page


def score(
    assistant: Assistant, reader: TimedReader, rows: Sequence[EvaluationRow], angle: int, adapter: str
) -> TiltScore:
    """The rows' questions, asked about their images turned by the angle."""
    reader.seconds.clear()
    right = 0
    for row in rows:
        answer = assistant.ask(row.question, turned(load_image(row.file), angle), adapter=adapter)
        right += is_right(row.type, row.answer, answer.text)
    read_ms = 1000 * sum(reader.seconds) / max(len(reader.seconds), 1)
    return TiltScore(angle, len(rows), right, round(read_ms))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.pages.tilted_pages", description=__doc__
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--split", default="val", help="rows of this split")
    parser.add_argument("--type", default="total", help="questions of this type")
    parser.add_argument("--images", type=int, default=30, help="the first so many of them")
    parser.add_argument("--adapter", default="receipts")
    parser.add_argument("--angles", type=int, nargs="+", default=ANGLES, help="degrees, anticlockwise")
    options = parser.parse_args()
    try:
        rows = [
            row for row in read_rows([options.file], None, options.split, None) if row.type == options.type
        ]
        reader = TimedReader()
        with Assistant(for_this_process(), None, reader=reader) as assistant:
            for angle in options.angles:
                result = score(assistant, reader, rows[: options.images], angle, options.adapter)
                print(json.dumps(asdict(result)), flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
