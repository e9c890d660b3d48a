"""Runs the jobs of one turn on the inference thread, and cancels the running one.

The jobs of a turn run one after the other. Their events are read on the thread that reads the turn's events.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from edge_app.engine.inference_thread import InferenceThread, Job
from edge_app.events import Event


class TurnJobs:
    """The jobs of one turn. `cancel` may be called from any thread, everything else from the reader's.

    interruption: the KeyboardInterrupt that stopped the turn while a job ran; None without one.
    """

    def __init__(self, thread: InferenceThread) -> None:
        self.interruption: KeyboardInterrupt | None = None
        self._thread = thread
        self._stopped = threading.Event()
        self._job: Job | None = None

    @property
    def stopped(self) -> threading.Event:
        """Set once the turn is stopped."""
        return self._stopped

    def cancel(self) -> None:
        """Stops the turn: cancels the running job, and every later one before it runs."""
        self._stopped.set()
        if (job := self._job) is not None:
            self._thread.cancel(job)

    def run(
        self, work: Callable[[Job], None], abandoned: Callable[[Job], None], seconds: float | None = None
    ) -> Generator[Event, None, None]:
        """The events of a job, until it has ended. A KeyboardInterrupt stops the turn and is kept.

        work, abandoned: as for InferenceThread.submit. seconds: the job is cancelled after so long, its wait for other
        jobs included; None lets it run to its end. If the caller closes the iterator, the job is cancelled and awaited.
        """
        job = self._job = self._thread.submit(work, abandoned)
        if self._stopped.is_set():
            self._thread.cancel(job)
        timer = None if seconds is None else threading.Timer(seconds, self._thread.cancel, [job])
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield from job
        except KeyboardInterrupt as interruption:
            self.interruption = interruption
            self.cancel()
            yield from job
        finally:
            if timer is not None:
                timer.cancel()
            if not job.over:  # the caller closed the iterator
                self._thread.cancel(job)
                for _ in job:
                    pass
            self._job = None
