"""A circuit breaker: an endpoint that is dead is left alone for a while, so that it slows no further turn.

closed     every question goes out; FAILURES of them failing one after the other open it. One hiccup does not,
           and one success forgets them all.
open       nothing goes out for `rest` seconds: FIRST_REST, doubled each time it opens again, MOST_REST at most.
half-open  the next question goes out, alone and as the only one; its success closes, its failure opens again.

It counts questions, not the tries that each may take, and only what says that the endpoint is not well: a
wrong key comes back at once and slows nobody. It lives as long as the process; a script starts afresh.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from edge_app.cloud.errors import CloudError, Kind

FAILURES = 3
FIRST_REST = 30.0
MOST_REST = 600.0
SICK: frozenset[Kind] = frozenset(
    (
        "refused",
        "dns",
        "tls",
        "timeout",
        "server",
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
    """One for each endpoint; safe to use from several threads."""

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
        """Before a question goes out; whether it is the one trial of a half-open breaker.

        Raises CloudError ("resting") while it is open. Whoever entered calls `end`.
        """
        with self._lock:
            state = self._state()
            if state == "open":
                seconds = max(1.0, self._until - self._clock())
                raise CloudError(
                    "resting",
                    f"{at[0].upper()}{at[1:]} failed {self._failures} times in a row and is left alone for "
                    f"another {seconds:.0f} seconds.",
                )
            is_trial = state == "half-open"
            self._trying = self._trying or is_trial
            return is_trial

    def end(self, outcome: Kind | None, *, trial: bool) -> None:
        """outcome: None is an answer, a kind how it failed; "cancelled" says nothing about the endpoint.
        trial: what `enter` returned."""
        with self._lock:
            if trial:
                self._trying = False
            if outcome == "cancelled":
                return
            if outcome not in SICK:  # it answered, if not as we like
                self._failures, self._rest = 0, 0.0
                return
            self._failures += 1
            if trial or (not self._rest and self._failures >= FAILURES):
                self._rest = min(MOST_REST, self._rest * 2) or FIRST_REST
                self._until = self._clock() + self._rest
