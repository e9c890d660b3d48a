"""Answers pages in a process of a Ray cluster: each actor has an engine, which it loads once.

Ray Data calls PageReader on the machine of the command, which has the files, and PageWorker anywhere. What goes from
one to the other is a dict of columns: number (of the page in the run), data (bytes of an image file), name, digest, and
error (a sentence; empty for a page that was read). What comes back is the number and an PageOutcome as JSON.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from edge_app.events import Event, ImageEncoded
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.task import ExtractTask
from edge_app.images.image_sources import ImageBytes
from edge_app.settings import Settings
from models.core.errors import UserError

Columns = dict[str, Any]


@dataclass(frozen=True)
class PageOutcome:
    """What became of a page.

    kind: "row" for a row, also one with an error; "refused" when the worker cannot answer any page; "defect" for an
    error of the program. text: the row as JSON (PageRow.as_json), a sentence for the user, or a traceback.
    notes: what was done to the page's image that the user should know.
    """

    kind: Literal["row", "refused", "defect"]
    text: str
    notes: tuple[str, ...] = ()

    def as_json(self) -> str:
        return json.dumps([self.kind, self.text, self.notes])

    @classmethod
    def from_json(cls, text: str) -> PageOutcome:
        kind, content, notes = json.loads(text)
        return cls(kind, content, tuple(notes))


@dataclass(frozen=True)
class Setup:
    """What a worker needs to answer as the process of the command would.

    settings: of the command; without `threads` an engine has one. weights: as in
    edge_app.extract.opening.opened. home: EDGE_APP_HOME of the command;
    empty when it is not set.
    """

    task: ExtractTask
    settings: Settings
    weights: Callable[[str, str], str]
    home: str

    @property
    def threads(self) -> int:
        """Of an engine."""
        return self.settings.threads or 1


class PageReader:
    """An actor of Ray Data's `map` that reads pages on the machine of the command: a number in, columns out.

    jobs: of the run, by number; their paths are absolute.
    """

    def __init__(self, jobs: Sequence[PageJob]) -> None:
        self._jobs = jobs

    def __call__(self, columns: Columns) -> Columns:
        number = int(columns["number"])
        return columns_of(number, self._jobs[number])


class PageFetcher:
    """An actor of Ray Data's `map` that takes pages from the cluster's memory. references: of Ray, by number."""

    def __init__(self, references: Sequence[Any]) -> None:
        self._references = references

    def __call__(self, columns: Columns) -> Columns:
        import ray

        page: Columns = ray.get(self._references[int(columns["number"])])
        return page


def columns_of(number: int, job: PageJob) -> Columns:
    """A page as it is sent to a worker."""
    data, name, digest, error = b"", job.file, job.digest or "", ""
    try:
        picture = job.picture()
        if isinstance(picture, Path):
            data, name = picture.read_bytes(), picture.name
            digest = sha256(data).hexdigest()  # the file may have changed since it was looked at
        elif isinstance(picture, ImageBytes):
            data, name = picture.data, picture.name
        else:
            assert isinstance(picture, bytes), "a page of a document is a PNG file"
            data = picture
    except UserError as failure:
        error = str(failure)
    except OSError as failure:
        error = f"{name} cannot be read: {failure.strerror}."
    return {"number": number, "data": data, "name": name, "page": job.page, "digest": digest, "error": error}


class PageWorker:
    """An actor of Ray Data's `map`: columns of a page in, its number and PageOutcome out."""

    def __init__(self, setup: Setup) -> None:
        if setup.home:
            os.environ["EDGE_APP_HOME"] = setup.home
        self._setup = setup
        self._refusal = ""
        try:
            self._start()
        except UserError as error:
            self._refusal = str(error)

    def __call__(self, columns: Columns) -> Columns:
        try:
            outcome = PageOutcome("refused", self._refusal) if self._refusal else self._outcome(columns)
        except Exception:  # shown by the command, which ends with it
            outcome = PageOutcome("defect", traceback.format_exc())
        return {"number": int(columns["number"]), "outcome": outcome.as_json()}

    def _start(self) -> None:
        """Loads the engine. Raises UserError."""
        from edge_app.assistant import Assistant
        from edge_app.events import Failed
        from edge_app.extract.answering.local_pages import LocalPages
        from edge_app.extract.read_ahead import ReadAhead
        from edge_app.system.offline import switch

        settings = self._setup.settings.model_copy(update={"threads": self._setup.threads})
        if settings.offline:
            switch.turn_on()
        reader = ReadAhead(1)
        assistant = Assistant(settings, None, reader=reader)
        for event in assistant.prepare():
            if isinstance(event, Failed):
                raise event.as_error()
        if self._setup.weights(settings.model, settings.adapter) != self._setup.task.weights:
            raise UserError(
                f"The model or the adapters on {os.uname().nodename} are not those of this machine: pull and install "
                "the same there, or copy this machine's data folder."
            )
        self._pages = LocalPages(self._setup.task, assistant, reader, lambda _: None)

    def _outcome(self, columns: Columns) -> PageOutcome:
        name, digest = str(columns["name"]), str(columns["digest"]) or None
        number, error = int(columns["page"]), str(columns["error"])
        if error:
            fields = len(self._setup.task.asked.fields)
            return PageOutcome("row", PageRow.failed(name, number, digest, fields, error).as_json())
        picture = ImageBytes(bytes(columns["data"]), name)
        job = PageJob(name, number, digest, partial(_given, picture))
        self._pages.begin(job)
        notes: list[str] = []
        row = _drained(self._pages.finish(job), notes)
        return PageOutcome("row", row.as_json(), tuple(notes))


def _given(picture: ImageBytes) -> ImageBytes:
    return picture


def _drained(events: Generator[Event, None, PageRow], notes: list[str]) -> PageRow:
    """The row, and the notes about its image."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            row: PageRow = end.value
            return row
        if isinstance(event, ImageEncoded):
            notes += event.notes
