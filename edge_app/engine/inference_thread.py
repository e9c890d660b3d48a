"""The one thread that everything of the engine runs on, and the queue in front of it.

The compiled code's thread pool belongs to the thread that first calls it, so loading, encoding and generating
all happen here; others hand work in and read events out. Knows nothing of what the work does.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_app.events import Event

Emit = Callable[[Event], None]


class CancelledError(Exception):
    """Raised inside work to leave it, once its `cancelled` is set."""


@dataclass(frozen=True)
class _Crash:
    error: BaseException


_END = None


class Job(Iterator[Event]):
    """Work handed to the thread; iterating it gives its events, and raises what was a defect in the work."""

    def __init__(self, work: Callable[[Job], None], abandoned: Callable[[Job], None]) -> None:
        self.cancelled = threading.Event()
        self.work = work
        self.abandoned = abandoned
        self._events: queue.SimpleQueue[Event | _Crash | None] = queue.SimpleQueue()
        self._over = False

    @property
    def over(self) -> bool:
        """All its events have been read."""
        return self._over

    def emit(self, event: Event) -> None:
        self._events.put(event)

    def run(self, action: Callable[[Job], None]) -> None:
        """Runs the action and ends the events, whatever happens."""
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
    """Runs jobs one at a time, in the order they came. Start-up is lazy: no job, no thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Job] = deque()
        self._running: Job | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        self._last: Callable[[], None] | None = None

    def submit(self, work: Callable[[Job], None], abandoned: Callable[[Job], None]) -> Job:
        """work runs on the thread; abandoned runs instead, on the canceller's thread, when the job is
        cancelled before its turn comes. Both report through job.emit."""
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
        """From any thread. A running job is asked to stop; a waiting one ends at once."""
        job.cancelled.set()
        with self._changed:
            waiting = job in self._pending
            if waiting:
                self._pending.remove(job)
        if waiting:
            job.run(job.abandoned)

    def broadcast(self, event: Event) -> None:
        """Tells the running job and everyone who waits behind it: a load that all of them need."""
        with self._changed:
            listeners = [*([self._running] if self._running else []), *self._pending]
        for job in listeners:
            job.emit(event)

    def close(self, last: Callable[[], None], *, timeout: float = 10.0) -> None:
        """Cancels what runs and waits, runs `last` on the thread (freeing the engine), waits for its end."""
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
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: bool(self._pending) or self._closing)
                if not self._pending:
                    break
                self._running = job = self._pending.popleft()
            job.run(job.work)
        with self._changed:
            self._changed.wait_for(lambda: self._last is not None)
        assert self._last is not None
        self._last()
