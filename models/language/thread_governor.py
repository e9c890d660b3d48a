"""How many threads decode, token by token: one less while another program wants the processors.

Decode meets at a barrier two hundred times a token. When a thread is not running because its processor went to
somebody else, all others wait for it, and two threads become slower than one. The number of threads never
changes the result, so it may follow what is measured. Knows nothing of kernels; it is told durations.
"""

from __future__ import annotations

from collections import deque
from statistics import median_low

_SAMPLE = 8  # tokens that a verdict rests on
_SUSPICIOUS = 1.4  # times the best recent duration
_STAY = 64  # tokens between one verdict and the next trial
_MEMORY = 512  # tokens over which the best duration is remembered


class ThreadGovernor:
    """Chooses between all threads and one less. Ask `count`, decode one token, then record how long it took."""

    def __init__(self, threads: int) -> None:
        self._all = threads
        self._fewer = max(1, threads - 1)
        self.count = threads
        self._best: deque[float] = deque(maxlen=_MEMORY)
        self._current: list[float] = []
        self._other = 0.0  # median duration with the number of threads not in use
        self._rest = 0  # tokens until the next trial is allowed

    def record(self, seconds: float) -> None:
        """One token took this long with `count` threads."""
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
                self._switch(0.0)  # the trial brought nothing
            self._other, self._rest = 0.0, _STAY
        elif not self._rest and (self.count == self._fewer or now > _SUSPICIOUS * min(self._best)):
            self._switch(now)

    def _switch(self, before: float) -> None:
        """Use the other number of threads; before: the duration to compare with, 0 when none is wanted."""
        self.count = self._fewer if self.count == self._all else self._all
        self._current = []
        self._other = before
