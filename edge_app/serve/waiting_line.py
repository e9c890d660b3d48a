"""The line of requests that wait for their turn: bounded, and first come, first served."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from edge_app.serve.errors import ApiError, stopping

LONGEST_LINE = 32
"""Requests that wait, at most. A further one is told to come again later."""

MOST_BYTES = 256 * 2**20
"""Bytes of the bodies of all requests that wait or run, at most."""

LONGEST_RETRY = 60
"""The most seconds that a client is told to wait; some clients give up rather than wait longer."""

FIRST_GUESS = 2.0
"""Seconds that an answer takes, before one was measured."""


class Place:
    """A request's place in the line. bytes: of its body."""

    def __init__(self, line: WaitingLine) -> None:
        self._line = line
        self.bytes = 0

    def take_bytes(self, count: int) -> None:
        """Counts bytes of the body. Raises ApiError when all bodies together are too large."""
        self._line.check_bytes(count)
        self.bytes += count

    @property
    def before(self) -> int:
        """How many requests are answered before this one."""
        return self._line.before(self)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits until this request is to be answered. Raises ApiError when the server stops meanwhile."""
        async with self._line.turn(self):
            yield


class WaitingLine:
    """Used on the event loop alone. at_once: how many requests are answered at the same time.

    Of those whose body has come, the one that entered first is next.
    """

    def __init__(self, at_once: int = 1, longest: int = LONGEST_LINE) -> None:
        self._at_once = at_once
        self._longest = longest
        self._places: list[Place] = []  # in the order in which they entered
        self._waiting: dict[Place, asyncio.Future[None]] = {}
        self._running: set[Place] = set()
        self._seconds = FIRST_GUESS
        self._is_closed = False

    @contextmanager
    def enter(self) -> Iterator[Place]:
        """A place for one request. Raises ApiError with status 429 when the line is full."""
        if len(self._places) >= self._at_once + self._longest:
            raise self._full(f"{len(self._places)} requests wait already")
        place = Place(self)
        self._places.append(place)
        try:
            yield place
        finally:
            self._places.remove(place)

    @property
    def length(self) -> int:
        """How many requests wait or are answered."""
        return len(self._places)

    def before(self, place: Place) -> int:
        entered = itertools.takewhile(lambda each: each is not place, self._places)
        return len(self._running - {place}) + sum(each in self._waiting for each in entered)

    def check_bytes(self, more: int) -> None:
        if sum(place.bytes for place in self._places) + more > MOST_BYTES:
            raise self._full("The requests that wait are too large together")

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        called = self._waiting[place] = asyncio.get_running_loop().create_future()
        self._call_next()
        try:
            await called
            if self._is_closed:
                raise stopping()
            started = time.monotonic()
            try:
                yield
            finally:
                # An exponential average: recent answers count most.
                self._seconds += 0.25 * (time.monotonic() - started - self._seconds)
        finally:
            self._waiting.pop(place, None)
            self._running.discard(place)
            self._call_next()

    def _call_next(self) -> None:
        """Calls those who are next, as many as can be answered now."""
        for place in self._places:
            if len(self._running) >= self._at_once:
                return
            if (called := self._waiting.get(place)) is not None and not called.cancelled():
                del self._waiting[place]
                self._running.add(place)
                called.set_result(None)

    def close(self) -> None:
        """Requests that still wait get an error when their turn comes."""
        self._is_closed = True

    def _full(self, what: str) -> ApiError:
        wait = self._seconds * len(self._places) / self._at_once
        seconds = max(1, min(LONGEST_RETRY, math.ceil(wait)))
        return ApiError(
            f"The server is busy: {what}; ask again in {seconds} s.",
            status=429,
            kind="rate_limit_error",
            code="queue_full",
            headers={"Retry-After": str(seconds)},
        )
