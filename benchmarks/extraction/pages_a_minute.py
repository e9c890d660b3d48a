"""`python -m benchmarks.extraction.pages_a_minute FOLDER`: pages a minute of `extract`, of loops, and of llama.cpp.

"loop" asks about one page after another in one process, "ask" in a process for each page, as a loop in a shell does.
The ways take turns over chunks of the same pages, so that drift of the machine cancels in the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
        prog="python -m benchmarks.extraction.pages_a_minute", description=__doc__
    )
    parser.add_argument("source", nargs="+", help="files and folders with pages")
    parser.add_argument("--pages", type=int, default=100, help="how many pages (100)")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many pages at the beginning")
    parser.add_argument("--chunk", type=int, default=10, help="pages of each turn (10)")
    parser.add_argument("--fields", default=FIELDS, help=f"what is asked ({FIELDS})")
    parser.add_argument("--adapter", default="receipts", help="the adapter that answers (receipts)")
    parser.add_argument(
        "--ways",
        default=",".join(WAYS),
        help="what is measured, besides extract: of loop, ask and peer (all)",
    )
    parser.add_argument(
        "--save", type=Path, help="append the figures to this file, and print those of all its lines"
    )
    given = parser.parse_args()
    found = [str(file.absolute()) for file in find_files(given.source) if isinstance(file, Path)]
    files = found[given.skip : given.skip + given.pages]
    chunks = [files[at : at + given.chunk] for at in range(0, len(files), given.chunk)]
    figures: list[dict[str, float]] = []
    with ExitStack() as stack:
        ways = _ways(stack, given.ways.split(","), given.fields, given.adapter)
        for pages in ways.values():
            pages(files[:WARM_UP])  # loads what is loaded at the first pages
        for number, chunk in enumerate(chunks):
            line: dict[str, float] = {"pages": len(chunk)}
            for name in [*ways][number % len(ways) :] + [*ways][: number % len(ways)]:
                line[name] = ways[name](chunk)
            figures.append(line)
            print(json.dumps(line), file=sys.stderr, flush=True)
            if given.save:
                with given.save.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
    if given.save:
        figures = [json.loads(line) for line in given.save.read_text(encoding="utf-8").splitlines()]
    print(_table(figures))
    return 0


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
