"""`python -m benchmarks.extraction.pages_a_minute FOLDER`: pages a minute of `extract`, of loops, and of llama.cpp.

"loop" asks about one page after another in one process, "ask" in a process for each page, as a loop in a shell does.
The ways take turns over chunks of the same pages, so that drift of the machine cancels in the ratios.

Example, which takes a quarter of an hour on two idle cores and goes on where it was when it is called again:
    EDGE_APP_BENCH_PEER=peer/bin/python python -m benchmarks.extraction.pages_a_minute receipts/ \\
        --ways loop,peer --minutes 12 --save pages.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workers import Worker
from edge_app.extract.sources import find_files
from edge_app.extract.task import asked_fields
from edge_app.settings import DEFAULT_MODEL
from edge_app.system import paths
from edge_app.system.terminal_text import text_table
from models.compiler.threads import available_cpus
from models.hub.store import ModelStore

PEER = "EDGE_APP_BENCH_PEER"
FIELDS = "company, date:date, address, total:number"
PEER_SCRIPT = Path(__file__).with_name("llama_cpp_worker.py")
WAYS = ("loop", "ask", "peer")

WARM_UP = 3
"""Pages before the first measurement: one for each reader of `extract` on two cores, and one more."""

PEER_TOKENS = 128
"""The longest answer of the peer, which has no adapter: about a third more than ours take."""

Pages = Callable[[Sequence[str]], float]
"""Answers about files and returns the seconds."""


def main() -> int:
    """Measures and prints a table, or appends the seconds of each chunk to a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction.pages_a_minute",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="+", help="files and folders with pages")
    parser.add_argument("--pages", type=int, default=100, help="how many pages (100)")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many pages at the beginning")
    parser.add_argument(
        "--chunk",
        type=int,
        default=25,
        help="pages of each turn (25); at both ends of one `extract` has fewer pages to work on at once",
    )
    parser.add_argument("--fields", default=FIELDS, help=f"what is asked ({FIELDS})")
    parser.add_argument("--adapter", default="receipts", help="the adapter that answers (receipts)")
    parser.add_argument(
        "--ways",
        default=",".join(WAYS),
        help="what is measured, besides extract: of loop, ask and peer (all)",
    )
    parser.add_argument("--minutes", type=float, help="end after the turn of pages that is under way by then")
    parser.add_argument(
        "--save", type=Path, help="keep the figures of each turn in this file, and go on after those it has"
    )
    given = parser.parse_args()
    found = [str(file.absolute()) for file in find_files(given.source) if isinstance(file, Path)]
    files = found[given.skip : given.skip + given.pages]
    run = MeasuredRun(given.save)
    until = math.inf if given.minutes is None else time.monotonic() + 60 * given.minutes
    try:
        with ExitStack() as stack:
            if files[run.pages :]:
                ways = _ways(stack, given.ways.split(","), given.fields, given.adapter)
                for name, pages in ways.items():
                    _say(f"{name}: loads, and answers {WARM_UP} pages that do not count")
                    pages(files[:WARM_UP])  # loads what is loaded at the first pages
                run.measure(ways, files, given.chunk, until)
    except KeyboardInterrupt:
        _say("Stopped.")
    if not run.figures:
        return 1
    print(_table(run.figures))
    return 0


class MeasuredRun:
    """The figures of the turns so far. file: keeps a line for each; None keeps them in memory alone.

    figures: of each turn its pages, and the seconds by way.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.figures: list[dict[str, float]] = []
        if file is not None and file.exists():
            self.figures = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    @property
    def pages(self) -> int:
        """How many pages have been measured in all ways."""
        return int(sum(line["pages"] for line in self.figures))

    def measure(self, ways: Mapping[str, Pages], files: Sequence[str], chunk: int, until: float) -> None:
        """Measures the files that are left. chunk: pages of a turn. until: monotonic; no turn begins after it."""
        while (left := files[self.pages :]) and time.monotonic() < until:
            first = len(self.figures) % len(ways)
            line: dict[str, float] = {"pages": len(left[:chunk])}
            for name in [*ways][first:] + [*ways][:first]:
                line[name] = ways[name](left[:chunk])
                rate = 60 * line["pages"] / line[name]
                _say(f"{self.pages + len(left[:chunk])} of {len(files)} pages, {name}: {rate:.1f} a minute")
            self.figures.append(line)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _ways(stack: ExitStack, wanted: Sequence[str], fields: str, adapter: str) -> dict[str, Pages]:
    """The ways by name, each in a process that has loaded what it needs."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ways: dict[str, Pages] = {}
    for way in ("extract", "loop"):
        if way == "extract" or way in wanted:
            command = [sys.executable, "-m", "benchmarks.extraction.pages_worker", fields, adapter]
            worker = stack.enter_context(Worker(command, folder / f"{way}.log"))
            worker.ask("load", way=way)
            ways[way] = _pages(worker)
    if "ask" in wanted:
        ways["ask"] = partial(_ask, ["--fields", fields, "--adapter", adapter, "--offline", "--json"])
    python = os.environ.get(PEER)
    if "peer" in wanted and python is not None:
        worker = stack.enter_context(Worker([python, str(PEER_SCRIPT)], folder / "peer.log"))
        ways["llama.cpp + rapidocr"] = _peer(worker, fields)
    return ways


def _peer(worker: Worker, fields: str) -> Pages:
    """The script of llama.cpp and rapidocr with the same base model, on all cores."""
    asked = asked_fields(fields)
    assert asked.schema is not None, "fields have a schema"
    model = next(ModelStore(paths.models_directory()).pull(DEFAULT_MODEL).directory.glob("*.gguf"))
    question, schema = asked.question, asked.schema.content
    worker.ask("load", model=str(model), threads=available_cpus(), question=question, schema=schema)
    return _pages(worker, tokens=PEER_TOKENS)


def _ask(options: Sequence[str], files: Sequence[str]) -> float:
    """Runs `edge-app ask` for each page."""
    started = time.perf_counter()
    for file in files:
        command = [sys.executable, "-m", "edge_app", "ask", "--image", file, *options]
        subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _pages(worker: Worker, **arguments: Any) -> Pages:
    def pages(files: Sequence[str]) -> float:
        return float(worker.ask("pages", files=list(files), **arguments)["seconds"])

    return pages


def _table(figures: Sequence[dict[str, float]]) -> str:
    """A line for each way. The ratio is the median over the chunks, with the lowest and the highest."""
    ways = [name for name in figures[0] if name != "pages"]
    rows = [("WAY", "PAGES", "A MINUTE", "EXTRACT / WAY", "LOWEST", "HIGHEST")]
    for way in ways:
        chunks = [line for line in figures if way in line]
        ratios = [line[way] / line["extract"] for line in chunks]
        pages, seconds = sum(line["pages"] for line in chunks), sum(line[way] for line in chunks)
        rows.append(
            (
                way,
                f"{pages:.0f}",
                f"{60 * pages / seconds:.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f}",
                f"{max(ratios):.2f}",
            )
        )
    return text_table(rows, right=(1, 2, 3, 4, 5))


if __name__ == "__main__":
    sys.exit(main())
