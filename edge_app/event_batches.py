"""Turns an assistant's blocking iterator of events into asynchronous batches for an event loop.

A daemon thread reads the iterator, so that a download that hangs does not keep the program from ending. There is at
most one batch in an interval, with the text of consecutive tokens joined, so that a fast model costs the screen no
more than a slow one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import suppress

from edge_app.events import Event, Progress, TokenText

INTERVAL = 0.05
"""Seconds between batches; 20 a second look continuous."""

ANSWERS = "chat answer"
"""Name of the threads that read answers."""


async def batches(
    events: Iterator[Event], interval: float = INTERVAL, *, thread: str = "chat events"
) -> AsyncGenerator[Sequence[Event], None]:
    """Yields the first event at once and later ones in batches. Raises what the iterator raised.

    interval: seconds between batches. thread: the name of the thread that reads.

    If the caller closes this generator, the iterator is closed after its next event.
    """
    reader = _EventReader(events, asyncio.get_running_loop(), thread)
    loop = asyncio.get_running_loop()
    try:
        while True:
            await reader.arrived.wait()
            taken, ended, error = reader.take()
            shown = loop.time()
            if taken:
                yield merged(taken)
            if ended:
                if error is not None:
                    raise error
                return
            await asyncio.sleep(max(0.0, interval - (loop.time() - shown)))
    finally:
        reader.abandoned.set()


def wait_for_answers(seconds: float) -> None:
    """Waits for the threads that read answers, at most so many seconds. Stopped answers are then saved."""
    until = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name == ANSWERS:
            thread.join(max(0.0, until - time.monotonic()))


def merged(events: Sequence[Event]) -> list[Event]:
    """The events with consecutive tokens joined, and only the last of consecutive progress."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, TokenText) and isinstance(last, TokenText):
            result[-1] = TokenText(last.text + event.text)
        elif isinstance(event, Progress) and isinstance(last, Progress):
            result[-1] = event
        else:
            result.append(event)
    return result


class _EventReader:
    """The thread that reads. `arrived` is set on the event loop when `take` has something to return."""

    def __init__(self, events: Iterator[Event], loop: asyncio.AbstractEventLoop, thread: str) -> None:
        self.arrived = asyncio.Event()
        self.abandoned = threading.Event()
        self._events = events
        self._loop = loop
        self._lock = threading.Lock()
        self._pending: list[Event] = []
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name=thread, daemon=True).start()

    def take(self) -> tuple[list[Event], bool, BaseException | None]:
        with self._lock:
            taken, self._pending = self._pending, []
            if not self._ended:
                self.arrived.clear()
            return taken, self._ended, self._error

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for event in self._events:
                if self.abandoned.is_set():
                    break
                self._add(event)
            if isinstance(self._events, Generator):
                self._events.close()
        except BaseException as raised:
            error = raised
        with self._lock:
            self._ended, self._error = True, error
        self._wake()

    def _add(self, event: Event) -> None:
        with self._lock:
            self._pending.append(event)
            first = len(self._pending) == 1
        if first:
            self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and no consumer is left
            self._loop.call_soon_threadsafe(self.arrived.set)
