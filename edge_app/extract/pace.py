"""How fast a run goes, and how long it will take: pages a minute and the time left, as text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 30
"""The rate is that of the last so many pages."""


class Pace:
    """Counts pages.

    total: of the run. earlier: of those so far, taken from an earlier run. clock: seconds, from any moment on.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self.doubtful = 0
        self.failed = 0
        self.earlier = 0
        self._clock = clock
        self._moments: deque[float] = deque([clock()], maxlen=WINDOW + 1)
        self._to_answer = total

    def expect(self, pages: int) -> None:
        """Says how many pages have to be answered; the others are known. The clock of the rate starts now."""
        self._to_answer = pages
        self._moments.clear()
        self._moments.append(self._clock())

    def add(self, *, answered: bool, doubtful: bool, failed: bool) -> None:
        """Counts a row. answered: it was answered now, or failed now, and not taken from an earlier run."""
        self.done += 1
        self.doubtful += doubtful
        self.failed += failed
        if answered:
            self._to_answer -= 1
            self._moments.append(self._clock())
        else:
            self.earlier += 1

    @property
    def per_minute(self) -> float | None:
        """Pages answered a minute, of late; None before the first."""
        seconds = self._moments[-1] - self._moments[0]
        return 60 * (len(self._moments) - 1) / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Until the end, at this rate; None while it is unknown."""
        rate = self.per_minute
        return None if rate is None else 60 * max(self._to_answer, 0) / rate

    def line(self) -> str:
        """As in "37 of 400 pages · 31.2 a minute · 12 min left · 3 doubtful"."""
        parts = [f"{self.done} of {self.total} pages"]
        if (rate := self.per_minute) is not None and (left := self.seconds_left) is not None:
            parts += [f"{rate:.1f} a minute", f"{duration(left)} left"]
        parts += [f"{self.doubtful} doubtful"] if self.doubtful else []
        parts += [f"{self.failed} with errors"] if self.failed else []
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """A time as text: "45 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
