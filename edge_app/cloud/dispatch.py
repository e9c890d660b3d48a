"""Asks the endpoint: wraps the client's one request with the ledger, the daily limit, the breaker and retries.

The caller of `ask` has consent for exactly this payload (edge_app/cloud/consent.py).
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
"""Failures that are tried again: they may pass in a moment, and are known without a long wait."""


@dataclass(frozen=True)
class Backoff:
    """How often a question is tried again, and the pauses in seconds.

    The pause is `first`, doubled each time, at most `longest`, and times a random factor of 0.5 to 1, so that many
    clients do not return at once.
    """

    retries: int = 2
    first: float = 0.5
    longest: float = 20.0

    def pause(self, attempt: int, retry_after: float | None) -> float | None:
        """The pause after a failed attempt.

        attempt: counted from 0. retry_after: seconds that the endpoint asks for, which is the least pause; None is
        returned when it is longer than `longest`, and then the question is not tried again.
        """
        if retry_after is not None and retry_after > self.longest:
            return None
        own = min(self.longest, self.first * 2.0**attempt) * random.uniform(0.5, 1.0)
        return max(own, retry_after or 0.0)


class Cloud:
    """The endpoint of the settings, for the life of the app. Safe to use from several threads."""

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
        """The answer in pieces, CloudDone last. After the first piece nothing is tried again.

        Raises CloudError; NeedsNetwork when the process is offline; UserError when the keyring is locked.
        """
        if offline.is_on and not payload.endpoint.is_local:
            raise NeedsNetwork(f"The app is offline; asking {payload.endpoint} has to wait.")
        cancel = cancel or threading.Event()
        question = _Question(payload, self._find_key(payload.endpoint.host), cancel, purpose, session)
        trial = self.breaker.enter(str(payload.endpoint))
        outcome: Kind | None = "cancelled"  # when the caller closes the iterator
        try:
            yield from self._tries(question, 0 if trial else self._backoff.retries)
            outcome = None
        except CloudError as error:
            outcome = "cancelled" if error.kind == "spent" else error.kind
            raise
        finally:
            self.breaker.end(outcome, trial=trial)

    def _tries(self, question: _Question, retries: int) -> Generator[Piece, None, None]:
        for attempt in range(retries + 1):
            begun = False
            try:
                for piece in self._try(question, attempt):
                    begun = True
                    yield piece
                return
            except CloudError as error:
                pause = self._backoff.pause(attempt, error.retry_after)
                if begun or attempt == retries or pause is None or error.kind not in PASSING:
                    raise
            if question.cancel.wait(pause):
                raise CloudError("cancelled", "The answer was stopped.")

    def _try(self, question: _Question, attempt: int) -> Generator[Piece, None, None]:
        """One attempt, recorded in the ledger before it is sent and when it has ended."""
        entry = self._ledger.begin(
            question.payload, purpose=question.purpose, session=question.session, attempt=attempt + 1
        )
        status: Kind | Literal["complete"] = "cancelled"
        done: CloudDone | None = None
        texts: list[str] = []
        try:
            with closing(stream(question.payload, question.key, self._limits, question.cancel)) as pieces:
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
            self._ledger.end(entry, question.payload, status, done, "".join(texts))


@dataclass(frozen=True)
class _Question:
    """One question with what its attempts share."""

    payload: Payload
    key: Key | None
    cancel: threading.Event
    purpose: Purpose
    session: str | None


def from_settings(settings: Settings, ledger: Ledger) -> Cloud | None:
    """The endpoint that is set up; None without one. Raises UserError when it is incomplete or invalid."""
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
    """The endpoint of the settings. Raises UserError when none is set up, or when it is incomplete or invalid."""
    if settings.cloud_url is None or settings.cloud_model is None:
        missing = "cloud_url" if settings.cloud_url is None else "cloud_model"
        raise UserError(f"No cloud is set up ({missing} is missing); run `edge-app cloud setup`.")
    return endpoint(settings.cloud_url, settings.cloud_model)
