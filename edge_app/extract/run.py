"""The run over all pages: what was answered before is taken, the rest is read ahead, answered and kept, in order.

The next pages are decoded and read on the threads of ReadAhead while the inference thread answers about this one, and
a third thread waits for the cloud.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.assistant import Assistant
from edge_app.events import Answer, Answered, Event, Failed, Picture
from edge_app.extract.cloud_rows import CloudRows
from edge_app.extract.read_ahead import ReadAhead
from edge_app.extract.review import Review
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import ExtractTask
from edge_app.extract.training_rows import write_training_rows
from models.core.errors import UserError
from models.core.types import Image

PAGES_AHEAD = 4
"""How many pages may wait for the model, besides those that are being read. Some pages take five times as long as
others, and no core should wait for those."""

WAITING_FOR_CLOUD = 8
"""The most rows that wait for the cloud while later pages are answered here."""


@dataclass(frozen=True)
class ReadPage:
    """A page that is ready for the model."""

    picture: Picture
    image: Image


class ExtractRun:
    """One run. Iterate `rows` once, then `close`.

    again: rows of earlier runs are not taken. cloud: asks the endpoint about doubtful rows; None asks nothing.
    answered: how many pages were answered by this run so far.
    """

    def __init__(
        self,
        task: ExtractTask,
        assistant: Assistant,
        reader: ReadAhead,
        store: ExtractStore,
        *,
        again: bool = False,
        cloud: CloudRows | None = None,
    ) -> None:
        self.answered = 0
        self._task = task
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
        begun: deque[tuple[PageJob, PageRow | Future[ReadPage]]] = deque()
        leaving: deque[Future[PageRow]] = deque()
        waiting = iter(jobs)
        ahead = self._reader.readers + PAGES_AHEAD
        while True:
            while len(begun) < ahead and (job := next(waiting, None)) is not None:
                begun.append((job, self.known(job) or self._reader.pool.submit(self._read, job)))
            if not begun:
                break
            job, row = begun.popleft()
            if isinstance(row, Future):
                row = yield from self._answer(job, row)
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
        self._reader.close()

    def _read(self, job: PageJob) -> ReadPage:
        """Decodes a page and reads its text. Runs on a reader's thread. Raises UserError for a damaged one."""
        picture = job.picture()
        image = self._assistant.decode(picture)
        self._reader.read_now(image)
        return ReadPage(picture, image)

    def _answer(self, job: PageJob, read: Future[ReadPage]) -> Generator[Event, None, PageRow]:
        """Answers about a page on this device, and keeps the row. Returns it."""
        fields = len(self._task.asked.fields)
        try:
            page = read.result()
        except UserError as error:
            return PageRow.failed(job.file, job.page, job.digest, fields, str(error))
        answer = yield from self._ask(page)
        self._reader.forget(page.image)
        if isinstance(answer, Failed):
            return PageRow.failed(job.file, job.page, job.digest, fields, answer.message)
        self.answered += 1
        # A file may have changed since it was looked at.
        digest = page.image.digest if isinstance(page.picture, Path) else job.digest
        assert digest is not None, "the page was read"
        row = self._task.row(job.file, job.page, digest, answer)
        self._store.save(self._task.identity, row)
        return self._corrected(row)

    def _ask(self, page: ReadPage) -> Generator[Event, None, Answer | Failed]:
        """The events of the turn. Returns the Answer, or Failed."""
        result: Answer | Failed | None = None
        with closing(self._assistant.answer(self._task.turn(page.picture))) as events:
            for event in events:  # to its end, where it raises the KeyboardInterrupt that stopped the answer
                if isinstance(event, Answered):
                    result = event.answer
                elif isinstance(event, Failed):
                    result = event
                else:
                    yield event
        assert result is not None, "a turn ends in Answered or Failed"
        return result

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
