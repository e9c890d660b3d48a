"""Pages by this project in a process of its own: by `extract`, or by a loop that asks about one page after another.

Requests are JSON lines (benchmarks/workers.py). Nothing is taken from earlier runs.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edge_app.assistant import Assistant
from edge_app.events import Answered, Failed
from edge_app.extract.opening import ExtractRequest, opened
from edge_app.extract.rows import PageRow
from edge_app.extract.run import ExtractRun
from edge_app.extract.sources import jobs_of
from edge_app.extract.task import ExtractTask, asked_fields
from edge_app.settings import Settings, for_this_process


class PagesWorker:
    """Its public methods are the requests. fields: what is asked of every page. adapter: which one answers.
    threads: of the loop; None takes one for each core."""

    def __init__(self, fields: str, adapter: str, threads: int | None = None) -> None:
        self._asked = asked_fields(fields)
        self._settings: Settings = for_this_process(adapter=adapter, offline=True, threads=threads)
        self._stack = ExitStack()
        self._run: ExtractRun | None = None
        self._assistant: Assistant | None = None

    def load(self, way: str) -> dict[str, Any]:
        """Load everything. way: "extract" or "loop"."""
        if way == "extract":
            request = ExtractRequest(self._asked, again=True)
            self._run = self._stack.enter_context(
                opened(request, self._settings, lambda *_: "", lambda _: None, print)
            )
        else:
            self._assistant = self._stack.enter_context(Assistant(self._settings, None))
            for event in self._assistant.prepare():
                _raise_failure(event)
        return {}

    def pages(self, files: list[str]) -> dict[str, Any]:
        """Answer about each page. Replies the seconds, and the values of each row."""
        jobs = [job for file in files for job in jobs_of(Path(file))]
        started = time.perf_counter()
        if self._run is not None:
            rows = [row for row in self._run.rows(jobs) if isinstance(row, PageRow)]
        else:
            rows = [self._ask(file) for file in files]
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "answers": [row.values for row in rows]}

    def close(self) -> None:
        self._stack.close()

    def _ask(self, file: str) -> PageRow:
        assert self._assistant is not None, "loaded"
        settings = self._settings
        task = ExtractTask(self._asked, settings.adapter, settings.model, "", settings.image_detail)
        for event in self._assistant.answer(task.turn(Path(file))):
            _raise_failure(event)
            if isinstance(event, Answered):
                return task.row(file, 1, "", event.answer)
        raise RuntimeError("the turn ended without an answer")


def _raise_failure(event: object) -> None:
    if isinstance(event, Failed):
        raise event.as_error()


if __name__ == "__main__":
    from benchmarks.workers import serve

    worker = PagesWorker(sys.argv[1], sys.argv[2])
    serve(worker)
    worker.close()
