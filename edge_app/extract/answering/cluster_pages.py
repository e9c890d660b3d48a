"""Answers pages on a Ray cluster: Ray Data maps PageWorker over them, and their rows come back as they are made.

Pages are read here and their bytes are sent, so that no other machine needs the files. A process that dies is started
again by Ray, and its pages are done again; a row that comes twice counts once.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edge_app.events import Event, ImageEncoded, Progress
from edge_app.extract.answering.cluster import Cluster, ClusterAddress, connected, require_ray
from edge_app.extract.answering.local_pages import Keep
from edge_app.extract.answering.page_worker import (
    Columns,
    PageFetcher,
    PageOutcome,
    PageReader,
    PageWorker,
    Setup,
    columns_of,
)
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob
from models.core.errors import UserError

MOST_TRIES = 2
"""How often a page is given to the same worker in a round. When a machine is gone, all fail at once."""

ROUNDS = 3
"""How often pages that were lost are asked for again, the first time included. After that their rows say so."""

GIVEN_UP = f"Every worker that was given this page ended, {ROUNDS} times; see Ray's logs on their machines."


@dataclass(frozen=True)
class Pool:
    """Where pages are answered. engines: how many at most, an actor each; None for as many as there is room for."""

    address: ClusterAddress
    engines: int | None = None


class ClusterPages:
    """Answers pages on a cluster. All jobs are begun before the first row is waited for, and then it connects.

    keep: told each row when it comes, in any order.
    """

    ahead = sys.maxsize

    def __init__(self, setup: Setup, pool: Pool, keep: Keep) -> None:
        """Raises UserError when Ray is not installed."""
        require_ray()
        self._setup = setup
        self._pool = pool
        self._keep = keep
        self._jobs: list[PageJob] = []
        self._rows: dict[int, PageRow] = {}
        self._next = 0
        self._outcomes: Iterator[Columns] | None = None
        self._connection = ExitStack()

    def begin(self, job: PageJob) -> None:
        self._jobs.append(job)

    def finish(self, job: PageJob) -> Generator[Event, None, PageRow]:
        """As in Answering. Raises UserError when a worker cannot answer at all, and RuntimeError for a defect."""
        if self._outcomes is None:
            yield Progress("wait", "Connecting to Ray", 0, None)
            cluster = self._connection.enter_context(
                connected(self._pool.address, offline=self._setup.settings.offline)
            )
            room = cluster.engines(self._setup.threads)
            engines = min(self._pool.engines or room, room, len(self._jobs))
            some = f"{engines} engine{'' if engines == 1 else 's'}"
            yield Progress("wait", f"Starting {some} on Ray ({cluster.size})", 0, None)
            self._outcomes = self._in_rounds(cluster, engines)
        number, self._next = self._next, self._next + 1
        while number not in self._rows:
            columns = self._following(self._outcomes)
            if columns is None:
                fields = len(self._setup.task.asked.fields)
                return PageRow.failed(job.file, job.page, job.digest, fields, GIVEN_UP)
            yield from self._take(int(columns["number"]), PageOutcome.from_json(str(columns["outcome"])))
        return self._rows.pop(number)

    @staticmethod
    def _following(outcomes: Iterator[Columns]) -> Columns | None:
        """The next outcome; None after the last. Raises UserError when the cluster is gone."""
        failures: tuple[type[Exception], ...] = (ConnectionError,)
        if "ray" in sys.modules:
            failures = (ConnectionError, sys.modules["ray"].exceptions.RayError)
        try:
            return next(outcomes, None)
        except failures as error:
            first = (str(error).strip().splitlines() or ["it ended"])[0].rstrip(".")
            raise UserError(f"The Ray cluster failed: {first}. The same command goes on.") from error

    def close(self) -> None:
        """Disconnects, which ends the workers."""
        self._outcomes = None
        self._connection.close()

    def _in_rounds(self, cluster: Cluster, engines: int) -> Iterator[Columns]:
        """The outcomes of all pages. Those that were lost with a machine are asked for again, ROUNDS times in all."""
        missing = set(range(len(self._jobs)))
        for _ in range(ROUNDS):
            for columns in self._begun(cluster, engines, sorted(missing)):
                missing.discard(int(columns["number"]))
                yield columns
            if not missing:
                return

    def _begun(self, cluster: Cluster, engines: int, numbers: Sequence[int]) -> Iterator[Columns]:
        import ray

        jobs = [job.anywhere() for job in self._jobs]
        if not cluster.remote:
            here = ray.get_runtime_context().get_node_id()
            return outcomes(self._setup, engines, ReadHere(tuple(jobs), here), numbers)
        sent = tuple(ray.put(columns_of(number, job)) for number, job in enumerate(jobs))
        return _from_afar(self._setup, engines, Sent(sent), numbers)

    def _take(self, number: int, outcome: PageOutcome) -> Generator[Event, None, None]:
        """Keeps the row of a page, unless it came before."""
        if outcome.kind == "refused":
            raise UserError(outcome.text)
        if outcome.kind == "defect":
            raise RuntimeError(f"A worker of the cluster failed:\n{outcome.text}")
        if number < self._next - 1 or number in self._rows:
            return
        job = self._jobs[number]
        row = replace(PageRow.from_json(outcome.text), file=job.file, page=job.page)
        if row.error is None:
            self._keep(row)
        self._rows[number] = row
        if outcome.notes:
            yield ImageEncoded(job.file, row.digest or "", (), outcome.notes, cached=False, milliseconds=0.0)


@dataclass(frozen=True)
class ReadHere:
    """Pages that are read on one node, as workers need them. node: its id."""

    jobs: tuple[PageJob, ...]
    node: str

    def read(self, numbers: Any) -> Any:
        """A dataset of the pages' columns."""
        from ray.data import ActorPoolStrategy

        return numbers.map(
            PageReader,
            fn_constructor_args=(self.jobs,),
            compute=ActorPoolStrategy(size=1),
            num_cpus=0,
            label_selector={"ray.io/node-id": self.node},
        )


@dataclass(frozen=True)
class Sent:
    """Pages whose columns are in the cluster's memory already. references: of Ray, by number."""

    references: tuple[Any, ...]

    def read(self, numbers: Any) -> Any:
        """A dataset of the pages' columns."""
        from ray.data import ActorPoolStrategy

        return numbers.map(
            PageFetcher,
            fn_constructor_args=(self.references,),
            compute=ActorPoolStrategy(size=1),
            num_cpus=0,
        )


def outcomes(setup: Setup, engines: int, pages: ReadHere | Sent, wanted: Sequence[int]) -> Iterator[Columns]:
    """The number and the outcome of each page, as they come. A page whose workers die MOST_TRIES times has none."""
    import ray.data

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message=".*ray_remote_args_fn", category=DeprecationWarning)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    numbers = ray.data.from_items([{"number": number} for number in wanted], override_num_blocks=len(wanted))
    answered = pages.read(numbers).map(
        PageWorker,
        fn_constructor_args=(setup,),
        compute=ray.data.ActorPoolStrategy(size=min(engines, len(wanted)), max_tasks_in_flight_per_actor=2),
        num_cpus=setup.threads,
        ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": MOST_TRIES - 1},
    )
    for batch in answered.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        yield from batch.to_pylist()


class _Relay:
    """Runs the mapping within a cluster for a process that is none of its nodes, where Ray Data does not work.

    An actor.
    """

    def __init__(self, setup: Setup, engines: int, pages: Sent, wanted: Sequence[int]) -> None:
        self._outcomes = outcomes(setup, engines, pages, wanted)

    def next(self) -> Columns | None:
        return next(self._outcomes, None)


def _from_afar(setup: Setup, engines: int, pages: Sent, wanted: Sequence[int]) -> Iterator[Columns]:
    import ray

    relay = ray.remote(num_cpus=0)(_Relay).remote(setup, engines, pages, wanted)
    while (columns := ray.get(relay.next.remote())) is not None:
        yield columns
