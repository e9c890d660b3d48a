"""Answers pages with an engine of this process, and reads the text of later pages while it answers about one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Answered, Event, Failed, Picture
from edge_app.extract.read_ahead import ReadAhead
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.task import ExtractTask
from models.core.errors import UserError
from models.core.types import Image

PAGES_AHEAD = 4
"""How many pages may wait for the model, besides those that are being read. Some pages take five times as long as
others, and no core should wait for those."""

Keep = Callable[[PageRow], None]
"""Told each answered row as soon as it is there. Raises UserError when the disk refuses."""


class Answering(Protocol):
    """Answers pages. Each job is begun, in the order in which it is finished.

    ahead: how many jobs are begun before the first of them is finished.
    """

    ahead: int

    def begin(self, job: PageJob) -> None:
        """Begins with a page; its errors come from `finish`."""

    def finish(self, job: PageJob) -> Generator[Event, None, PageRow]:
        """The events of the answer to the job that was begun longest ago. Returns its row, which has been kept."""

    def close(self) -> None:
        """Gives up what was begun."""


@dataclass(frozen=True)
class ReadPage:
    """A page that is ready for the model."""

    picture: Picture
    image: Image


class LocalPages:
    """Pages are decoded and read on the threads of `reader`, and answered on the assistant's inference thread."""

    def __init__(self, task: ExtractTask, assistant: Assistant, reader: ReadAhead, keep: Keep) -> None:
        self.ahead = reader.readers + PAGES_AHEAD
        self._task = task
        self._assistant = assistant
        self._reader = reader
        self._keep = keep
        self._begun: deque[Future[ReadPage]] = deque()

    def begin(self, job: PageJob) -> None:
        self._begun.append(self._reader.pool.submit(self._read, job))

    def finish(self, job: PageJob) -> Generator[Event, None, PageRow]:
        """As in Answering. A page that cannot be read has a row with its error."""
        fields = len(self._task.asked.fields)
        try:
            page = self._begun.popleft().result()
        except UserError as error:
            return PageRow.failed(job.file, job.page, job.digest, fields, str(error))
        answer = yield from self._ask(page)
        self._reader.forget(page.image)
        if isinstance(answer, Failed):
            return PageRow.failed(job.file, job.page, job.digest, fields, answer.message)
        # A file may have changed since it was looked at.
        digest = page.image.digest if isinstance(page.picture, Path) else job.digest
        assert digest is not None, "the page was read"
        row = self._task.row(job.file, job.page, digest, answer)
        self._keep(row)
        return row

    def close(self) -> None:
        self._reader.close()

    def _read(self, job: PageJob) -> ReadPage:
        """Decodes a page and reads its text. Runs on a reader's thread. Raises UserError for a damaged one."""
        picture = job.picture()
        image = self._assistant.decode(picture)
        self._reader.read_now(image)
        return ReadPage(picture, image)

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
