"""Asks the endpoint about rows whose local answer is doubtful, one after another. Each request is in the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Answered, CloudFailed, Failed, Routed
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from edge_app.extract.task import ExtractTask
from models.core.errors import UserError


class CloudRows:
    """Used on one thread, but for `stop`.

    assistant: with the endpoint of the settings; its model is never loaded. least: a row that is right with a lower
    probability is doubtful. say: told once why the endpoint does not answer.
    """

    def __init__(
        self, task: ExtractTask, assistant: Assistant, least: float, say: Callable[[str], None]
    ) -> None:
        self.asked = 0
        self._task = task
        self._assistant = assistant
        self._least = least
        self._say = say
        self._told: set[str] = set()
        self._stopped = threading.Event()

    def wants(self, row: PageRow) -> bool:
        """Whether the endpoint is to be asked about a row."""
        return row.place == "local" and row.is_doubtful(self._least)

    def ask(self, job: PageJob, row: PageRow) -> PageRow | None:
        """The endpoint's row for a page; None when it gives none, and the local row stays.

        The daily limit, withheld images and an endpoint that fails often are kept to as in any turn.
        """
        answer = None if self._stopped.is_set() else self._answer(job)
        if answer is None:
            return None
        self.asked += 1
        assert row.digest is not None, "the page was read"
        return self._task.row(job.file, job.page, row.digest, answer)

    def _answer(self, job: PageJob) -> Answer | None:
        """The endpoint's answer. The turn ends before this device would answer in its place."""
        try:
            turn = self._task.turn(job.picture(), cloud=True)
        except UserError:  # the file has changed since it was read
            return None
        with closing(self._assistant.answer(turn)) as events:
            for event in events:
                if isinstance(event, Answered) and event.answer.stop_reason != "cancelled":
                    return event.answer
                if isinstance(event, CloudFailed | Failed):
                    self._tell(event.message)
                    return None
                if isinstance(event, Routed) and event.route.place == "local":
                    self._tell(event.route.reason)
                    return None
        return None

    def stop(self) -> None:
        """Ends a request that runs, and sends no more."""
        self._stopped.set()
        self._assistant.cancel()

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            self._say(why)
