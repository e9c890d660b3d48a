"""`python -m benchmarks.extraction.page_stages FOLDER`: where the processor time of a page goes, on one thread.

Processor time of the thread that computes hardly depends on what else the machine does, so that a busy one will do.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.extraction.pages_a_minute import FIELDS
from benchmarks.extraction.pages_worker import PagesWorker
from edge_app.engine.engine_pool import EnginePool
from edge_app.extract.sources import find_files
from edge_app.system.terminal_text import text_table
from edge_app.turns.images.pictures import Pictures
from edge_app.turns.local_answer import LocalAnswer
from edge_app.turns.local_questions import LocalQuestions
from models.language.runtime import LlamaRuntime
from models.ocr import reader

WARM_UP = 2
"""Pages before the first measurement, which load what is loaded at the first page."""

WHOLE = "the whole turn"
DECODING = "decoding the image file"  # on another thread than the rest


class PageStages:
    """Seconds of processor time, and calls, by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    def measure(self, owner: Any, function: str, stage: str) -> None:
        """Counts a function of a class or a module as a stage from now on."""
        own: Callable[..., Any] = getattr(owner, function)

        def measured(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return own(*arguments, **named)
            finally:
                self.seconds[stage] += time.thread_time() - started
                self.calls[stage] += 1

        setattr(owner, function, measured)


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction.page_stages", description=__doc__)
    parser.add_argument("source", nargs="+", help="files and folders with pages")
    parser.add_argument("--pages", type=int, default=8, help="how many pages (8)")
    parser.add_argument("--fields", default=FIELDS, help=f"what is asked ({FIELDS})")
    parser.add_argument("--adapter", default="receipts", help="the adapter that answers (receipts)")
    given = parser.parse_args()
    found = [str(file.absolute()) for file in find_files(given.source) if isinstance(file, Path)]
    files = found[: WARM_UP + given.pages]
    times = PageStages()
    times.measure(reader, "_detect", "text reader: detection")
    times.measure(reader, "_recognise", "text reader: recognition, line by line")
    times.measure(EnginePool, "encode", "vision encoder")
    times.measure(LocalQuestions, "scope", "scope of the questions")
    times.measure(LlamaRuntime, "prefill", "language model: prefill")
    times.measure(LlamaRuntime, "decode", "language model: decode, token by token")
    times.measure(Pictures, "read", DECODING)
    times.measure(LocalAnswer, "compute", WHOLE)
    worker = PagesWorker(given.fields, given.adapter, threads=1)
    worker.load("loop")
    worker.pages(files[:WARM_UP])
    times.seconds.clear()
    times.calls.clear()
    worker.pages(files[WARM_UP:])
    worker.close()
    print(_table(times, len(files) - WARM_UP))
    return 0


def _table(times: PageStages, pages: int) -> str:
    whole = times.seconds.pop(WHOLE) + times.seconds[DECODING]
    rows = [("STAGE", "SECONDS A PAGE", "CALLS A PAGE", "SHARE")]
    stages = [
        *sorted(times.seconds.items(), key=lambda each: -each[1]),
        ("other", whole - sum(times.seconds.values())),
        (WHOLE, whole),
    ]
    for stage, seconds in stages:
        calls = times.calls[stage]
        rows.append(
            (
                stage,
                f"{seconds / pages:.3f}",
                f"{calls / pages:.1f}" if calls else "",
                f"{100 * seconds / whole:.0f}%",
            )
        )
    return text_table(rows, right=(1, 2, 3))


if __name__ == "__main__":
    sys.exit(main())
