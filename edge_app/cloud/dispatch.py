"""Asks the endpoint: ledger, spending limit, breaker and retries around the one request of the client.

Whoever calls `ask` has consent for exactly this payload (edge_app/cloud/consent.py). Knows no front end and no
local model; what to do when it fails is the caller's business.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from edge_app.cloud import key as keys
from edge_app.cloud.breaker import Breaker
from edge_app.cloud.client import CloudDone, Limits, Piece, stream
from edge_app.cloud.endpoint import Endpoint, endpoint
from edge_app.cloud.errors import CloudError, Kind
from edge_app.cloud.key import Key
from edge_app.cloud.ledger import Ledger, Purpose
from edge_app.cloud.payload import Payload
from edge_app.settings import Settings
from edge_app.system.offline import switch as offline
from models.core.errors import NeedsNetwork, UserError

PASSING: frozenset[Kind] = frozenset(("refused", "rate_limited", "server"))
"""What may be better in a moment, and is known at once: who has waited long already is not made to wait again."""


@dataclass(frozen=True)
class Backoff:
    """How often a question is tried again and after which pauses, in seconds: first, doubled each time, at most
    longest, by a random half shorter so that many clients do not come back together."""

    retries: int = 2
    first: float = 0.5
    longest: float = 20.0

    def pause(self, attempt: int, retry_after: float | None) -> float | None:
        """After the try number attempt, from 0. What Retry-After asks for is honoured; None when that is longer
        than longest: then waiting is the user's decision."""
        if retry_after is not None and retry_after > self.longest:
            return None
        own = min(self.longest, self.first * 2.0**attempt) * random.uniform(0.5, 1.0)
        return max(own, retry_after or 0.0)


class Cloud:
    """One endpoint as the settings have it, for the life of the app; safe to use from several threads."""

    def __init__(
        self,
        place: Endpoint,
        ledger: Ledger,
        *,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        find_key: Callable[[str], Key | None] = keys.find,
        breaker: Breaker | None = None,
    ) -> None:
        self.endpoint = place
        self.breaker = breaker or Breaker()
        self._ledger = ledger
        self._limits = limits or Limits()
        self._backoff = backoff or Backoff()
        self._find_key = find_key

    def ask(
        self,
        payload: Payload,
        *,
        purpose: Purpose = "turn",
        session: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[Piece, None, None]:
        """The answer in pieces, CloudDone last. Once a piece has come, nothing is tried again: the text that
        came is the caller's to keep.

        Raises CloudError; NeedsNetwork when the process is offline; UserError when the keyring is locked.
        """
        if offline.is_on and not payload.endpoint.is_local:
            raise NeedsNetwork(f"The app is offline; asking {payload.endpoint} has to wait.")
        cancel = cancel or threading.Event()
        trip = _Trip(payload, self._find_key(payload.endpoint.host), cancel, purpose, session)
        trial = self.breaker.enter(str(payload.endpoint))
        outcome: Kind | None = "cancelled"  # of whoever closes early
        try:
            yield from self._tries(trip, 0 if trial else self._backoff.retries)
            outcome = None
        except CloudError as error:
            outcome = "cancelled" if error.kind == "spent" else error.kind
            raise
        finally:
            self.breaker.end(outcome, trial=trial)

    def _tries(self, trip: _Trip, retries: int) -> Generator[Piece, None, None]:
        for attempt in range(retries + 1):
            begun = False
            try:
                for piece in self._try(trip, attempt):
                    begun = True
                    yield piece
                return
            except CloudError as error:
                pause = self._backoff.pause(attempt, error.retry_after)
                if begun or attempt == retries or pause is None or error.kind not in PASSING:
                    raise
            if trip.cancel.wait(pause):
                raise CloudError("cancelled", "The answer was stopped.")

    def _try(self, trip: _Trip, attempt: int) -> Generator[Piece, None, None]:
        """Recorded before and after, however it ends."""
        entry = self._ledger.begin(
            trip.payload, purpose=trip.purpose, session=trip.session, attempt=attempt + 1
        )
        status: Kind | Literal["complete"] = "cancelled"
        done: CloudDone | None = None
        texts: list[str] = []
        try:
            with closing(stream(trip.payload, trip.key, self._limits, trip.cancel)) as pieces:
                for piece in pieces:
                    if isinstance(piece, CloudDone):
                        done, status = piece, "complete"
                    else:
                        texts.append(piece.text)
                    yield piece
        except CloudError as error:
            status = error.kind
            raise
        finally:
            self._ledger.end(entry, trip.payload, status, done, "".join(texts))


@dataclass(frozen=True)
class _Trip:
    """One question on its way."""

    payload: Payload
    key: Key | None
    cancel: threading.Event
    purpose: Purpose
    session: str | None


def from_settings(settings: Settings, ledger: Ledger) -> Cloud | None:
    """The endpoint that is set up, if one is. Raises UserError when only half of it is, or it is none."""
    if settings.cloud_url is None and settings.cloud_model is None:
        return None
    return Cloud(
        configured(settings),
        ledger,
        limits=Limits(
            connect=settings.cloud_connect_seconds,
            first=settings.cloud_first_seconds,
            stall=settings.cloud_stall_seconds,
            total=settings.cloud_total_seconds,
        ),
        backoff=Backoff(retries=settings.cloud_retries),
    )


def configured(settings: Settings) -> Endpoint:
    """Raises UserError, saying what to do, when no endpoint is set up, or not a whole one."""
    if settings.cloud_url is None or settings.cloud_model is None:
        missing = "cloud_url" if settings.cloud_url is None else "cloud_model"
        raise UserError(f"No cloud is set up ({missing} is missing); run `edge-app cloud setup`.")
    return endpoint(settings.cloud_url, settings.cloud_model)
