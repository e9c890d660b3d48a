"""Chooses the number of decoding threads: one less while another program uses the processors.

Decode synchronises its threads about two hundred times a token. When the system schedules another program in the
place of one thread, all others wait for it, and two threads become slower than one. The number of threads never
changes the result, so it can follow measured durations.

While all threads are in use, a duration far above the best recent one starts a trial with one thread less. The
trial is kept when it is at least 10% faster. While one thread less is in use, all threads are tried again every
64 tokens.
"""

from __future__ import annotations

from collections import deque
from statistics import median_low

_SAMPLE = 8  # tokens whose median is compared
_SUSPICIOUS = 1.4  # times the best recent duration: starts a trial
_STAY = 64  # tokens between the end of one trial and the next
_MEMORY = 512  # tokens over which the best duration is taken


class ThreadGovernor:
    """Read `count`, decode one token with that many threads, then call `record` with its duration."""

    def __init__(self, threads: int) -> None:
        self._all = threads
        self._fewer = max(1, threads - 1)
        self.count = threads
        self._best: deque[float] = deque(maxlen=_MEMORY)
        self._current: list[float] = []
        self._other = 0.0  # seconds a token before the trial that is running; 0: no trial
        self._rest = 0  # tokens until the next trial may start

    def record(self, seconds: float) -> None:
        """seconds: the duration of one token with `count` threads."""
        if self._all == self._fewer:
            return
        if self.count == self._all:
            self._best.append(seconds)
        self._current = [*self._current[1 - _SAMPLE :], seconds]
        self._rest = max(0, self._rest - 1)
        if len(self._current) < _SAMPLE:
            return
        now = median_low(self._current)
        if self._other:
            if now > 0.9 * self._other:
                self._switch(0.0)  # less than 10% faster: go back
            self._other, self._rest = 0.0, _STAY
        elif not self._rest and (self.count == self._fewer or now > _SUSPICIOUS * min(self._best)):
            self._switch(now)

    def _switch(self, before: float) -> None:
        """Change to the other number of threads. before: seconds a token to compare with; 0 starts no trial."""
        self.count = self._fewer if self.count == self._all else self._all
        self._current = []
        self._other = before
