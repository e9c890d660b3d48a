"""A circuit breaker: an endpoint that keeps failing is not asked for a while, so that it does not delay every turn.

closed     Questions are sent. FAILURES failures in a row open the breaker; one success resets the count.
open       Nothing is sent for `rest` seconds: FIRST_REST, doubled each time it opens again, at most MOST_REST.
half-open  One question is sent as a trial. Its success closes the breaker, its failure opens it again.

A question counts once, whatever its number of attempts. Only the kinds in SICK count, because the others (such as a
wrong key) are reported at once and delay nothing. The state is kept in memory, for the life of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from edge_app.cloud.errors import CloudError, Kind
from edge_app.system.terminal_text import capitalised

FAILURES = 3
FIRST_REST = 30.0
MOST_REST = 600.0
"""Seconds."""

SICK: frozenset[Kind] = frozenset(
    (
        "refused",
        "dns",
        "tls",
        "timeout",
        "server",
        "loading",
        "slow",
        "cut",
        "malformed",
        "empty",
        "huge",
        "rate_limited",
    )
)

State = Literal["closed", "open", "half-open"]


class Breaker:
    """The breaker of one endpoint. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._rest = 0.0  # seconds; 0 while closed
        self._until = 0.0
        self._trying = False

    @property
    def state(self) -> State:
        with self._lock:
            return self._state()

    def _state(self) -> State:
        if not self._rest:
            return "closed"
        return "open" if self._trying or self._clock() < self._until else "half-open"

    def enter(self, at: str) -> bool:
        """Called before a question is sent. Returns whether it is the trial of a half-open breaker.

        at: the endpoint in words. Raises CloudError ("resting") while the breaker is open. The caller must call `end`.
        """
        with self._lock:
            state = self._state()
            if state == "open":
                seconds = max(1.0, self._until - self._clock())
                raise CloudError(
                    "resting",
                    f"{capitalised(at)} failed {self._failures} times in a row and is left alone for "
                    f"another {seconds:.0f} seconds.",
                )
            is_trial = state == "half-open"
            self._trying = self._trying or is_trial
            return is_trial

    def end(self, outcome: Kind | None, *, trial: bool) -> None:
        """Called when a question has ended.

        outcome: None for an answer, else the kind of failure; "cancelled" changes nothing. trial: from `enter`.
        """
        with self._lock:
            if trial:
                self._trying = False
            if outcome == "cancelled":
                return
            if outcome not in SICK:  # the endpoint responds
                self._failures, self._rest = 0, 0.0
                return
            self._failures += 1
            if trial or (not self._rest and self._failures >= FAILURES):
                self._rest = min(MOST_REST, self._rest * 2) or FIRST_REST
                self._until = self._clock() + self._rest
