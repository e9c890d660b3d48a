"""The run over all pages: what was answered before is taken, the rest is answered and kept, and rows come in order.

Pages are answered here or on a cluster (edge_app.extract.answering), and a thread waits for the cloud.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from edge_app.assistant import Assistant
from edge_app.events import Event, Picture
from edge_app.extract.answering.local_pages import Answering
from edge_app.extract.cloud_rows import CloudRows
from edge_app.extract.read_ahead import ReadAhead
from edge_app.extract.review import Review
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import ExtractTask
from edge_app.extract.training_rows import write_training_rows
from models.core.types import Image

WAITING_FOR_CLOUD = 8
"""The most rows that wait for the cloud while later pages are answered here."""


class ExtractRun:
    """One run. Iterate `rows` once, then `close`.

    answering: answers pages, and keeps their rows in the store. assistant, reader: decode and read a page for a review
    and for training rows. again: rows of earlier runs are not taken. cloud: asks the endpoint about doubtful rows; None
    asks nothing.
    """

    def __init__(
        self,
        task: ExtractTask,
        answering: Answering,
        assistant: Assistant,
        reader: ReadAhead,
        store: ExtractStore,
        *,
        again: bool = False,
        cloud: CloudRows | None = None,
    ) -> None:
        self._task = task
        self._answering = answering
        self._assistant = assistant
        self._reader = reader
        self._store = store
        self._again = again
        self._cloud = cloud
        self._cloud_thread = ThreadPoolExecutor(1, thread_name_prefix="cloud")

    def known(self, job: PageJob) -> PageRow | None:
        """The row of an earlier run, with what the user corrected; None when the page has to be answered."""
        if self._again or job.digest is None:
            return None
        row = self._store.find(self._task.identity, job.file, job.digest, job.page)
        return None if row is None else self._corrected(row)

    def rows(self, jobs: Iterable[PageJob]) -> Iterator[PageRow | Event]:
        """A row for each job, in their order, and the assistant's events about loading in between.

        A page that fails has a row with its error. Raises UserError when the database refuses.
        """
        begun: deque[tuple[PageJob, PageRow | None]] = deque()
        leaving: deque[Future[PageRow]] = deque()
        waiting = iter(jobs)
        while True:
            while len(begun) < self._answering.ahead and (job := next(waiting, None)) is not None:
                row = self.known(job)
                if row is None:
                    self._answering.begin(job)
                begun.append((job, row))
            if not begun:
                break
            job, row = begun.popleft()
            if row is None:
                row = yield from self._answering.finish(job)
                row = row if row.error is not None else self._corrected(row)
            leaving.append(self._with_cloud(job, row))
            while leaving and (leaving[0].done() or len(leaving) > WAITING_FOR_CLOUD):
                yield leaving.popleft().result()
        for future in leaving:
            yield future.result()

    def decode(self, picture: Picture) -> Image:
        """A page's image. Raises UserError."""
        return self._assistant.decode(picture)

    def review(self, least: float) -> Review:
        """Takes what the user decides about rows of this task. least: as in PageRow.is_doubtful."""
        return Review(self._task.asked, self._store, least)

    def write_training_rows(self, file: Path, jobs: Sequence[PageJob]) -> int:
        """As edge_app.extract.training_rows, for the reviewed pages among the jobs."""
        return write_training_rows(file, self._task.asked, jobs, self._store, self._lines)

    def _lines(self, job: PageJob) -> list[str]:
        page = self._reader.read(self._assistant.decode(job.picture()))
        return [line.text for line in page.lines]

    def close(self) -> None:
        """Ends the threads. Pages in work are given up."""
        if self._cloud is not None:
            self._cloud.stop()
        self._cloud_thread.shutdown(wait=True, cancel_futures=True)
        self._answering.close()
        self._reader.close()

    def _with_cloud(self, job: PageJob, row: PageRow) -> Future[PageRow]:
        """The row, after the cloud was asked about it when it is doubtful."""
        if self._cloud is not None and self._cloud.wants(row):
            return self._cloud_thread.submit(self._ask_cloud, self._cloud, job, row)
        done: Future[PageRow] = Future()
        done.set_result(row)
        return done

    def _ask_cloud(self, cloud: CloudRows, job: PageJob, row: PageRow) -> PageRow:
        better = cloud.ask(job, row)
        if better is None:
            return row
        self._store.save(self._task.identity, better)
        return self._corrected(better)

    def _corrected(self, row: PageRow) -> PageRow:
        """The row with the values that the user accepted or corrected."""
        assert row.digest is not None, "the page was read"
        decided = self._store.reviewed(row.digest, row.page, self._task.asked.keys)
        if not decided:
            return row
        values, sure = list(row.values), list(row.confidences)
        for number, key in enumerate(self._task.asked.keys):
            if key in decided:
                values[number], sure[number] = decided[key].value, 1.0
        whole = len(decided) == len(self._task.asked.keys)
        return replace(
            row,
            values=tuple(values),
            confidences=tuple(sure),
            declined=row.declined and not whole,
            reviewed=whole,
        )
