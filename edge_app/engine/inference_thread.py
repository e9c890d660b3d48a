"""The inference thread, which runs all work on the engine, and the queue of jobs in front of it.

The thread pool of the compiled code belongs to the thread that first calls it. So loading, encoding and generating
run on one thread. Other threads submit jobs and read their events.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_app.events import Event
from models.core.freed_memory import give_back_freed_memory


class CancelledError(Exception):
    """Raised inside a job's work to end it after `cancelled` was set."""


JOBS_UNTIL_TRIM = 8
"""Freed memory is given back to the system after so many jobs, since a process that answers for hours fragments it."""


@dataclass(frozen=True)
class _Crash:
    error: BaseException


_END = None


class Job(Iterator[Event]):
    """Work for the inference thread. Iterating it yields its events, and raises an exception that the work raised.

    work: runs on the inference thread. abandoned: runs instead when the job is cancelled before it starts.
    """

    def __init__(self, work: Callable[[Job], None], abandoned: Callable[[Job], None]) -> None:
        self.cancelled = threading.Event()
        self.work = work
        self.abandoned = abandoned
        self._events: queue.SimpleQueue[Event | _Crash | None] = queue.SimpleQueue()
        self._over = False

    @property
    def over(self) -> bool:
        """Whether all its events have been read."""
        return self._over

    def emit(self, event: Event) -> None:
        self._events.put(event)

    def run(self, action: Callable[[Job], None]) -> None:
        """Runs the action and then ends the events. An exception of the action is passed to the reader."""
        try:
            action(self)
        except BaseException as error:
            self._events.put(_Crash(error))
        finally:
            self._events.put(_END)

    def __next__(self) -> Event:
        if self._over:
            raise StopIteration
        item = self._events.get()
        if item is _END:
            self._over = True
            raise StopIteration
        if isinstance(item, _Crash):
            self._over = True
            raise item.error
        return item


class InferenceThread:
    """Runs jobs one at a time, first come, first served. The thread starts with the first job."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Job] = deque()
        self._running: Job | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._last: Callable[[], None] | None = None

    def submit(self, work: Callable[[Job], None], abandoned: Callable[[Job], None]) -> Job:
        """Queues a job. Raises RuntimeError after `close`.

        work: runs on the inference thread. abandoned: runs instead, on the thread that cancels, when the job is
        cancelled before it starts. Both report through job.emit.
        """
        job = Job(work, abandoned)
        with self._changed:
            if self._closing:
                raise RuntimeError("the inference thread is closed")
            self._pending.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="inference", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Cancels a job. May be called on any thread. A waiting job ends at once, a running one when it next checks."""
        job.cancelled.set()
        with self._changed:
            waiting = job in self._pending
            if waiting:
                self._pending.remove(job)
        if waiting:
            job.run(job.abandoned)

    def broadcast(self, event: Event) -> None:
        """Emits an event to the running job and to all waiting jobs, such as the progress of a load that all need."""
        with self._changed:
            listeners = [*([self._running] if self._running else []), *self._pending]
        for job in listeners:
            job.emit(event)

    def close(self, last: Callable[[], None], *, timeout: float = 10.0) -> None:
        """Cancels all jobs, runs `last` on the thread (to free the engine), and waits for the thread to end.

        timeout: the longest wait for the thread, in seconds.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
            jobs = [*self._pending, *([self._running] if self._running else [])]
            thread = self._thread
        for job in jobs:
            self.cancel(job)
        with self._changed:
            self._last = last
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)

    def _loop(self) -> None:
        for done in itertools.count(1):
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: bool(self._pending) or self._closing)
                if not self._pending:
                    break
                self._running = job = self._pending.popleft()
            job.run(job.work)
            if done % JOBS_UNTIL_TRIM == 0:
                give_back_freed_memory()
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None)
        assert self._last is not None
        self._last()
