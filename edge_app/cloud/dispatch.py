"""Asks the endpoint: wraps the client's one request with the ledger, the daily limit, the breaker and retries.

The caller of `ask` has consent for exactly this payload (edge_app/cloud/consent.py).
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal

from edge_app.cloud import key as keys
from edge_app.cloud.breaker import Breaker
from edge_app.cloud.client import Limits, stream
from edge_app.cloud.endpoint import Endpoint, endpoint
from edge_app.cloud.errors import CloudError, Kind
from edge_app.cloud.key import Key
from edge_app.cloud.ledger import Ledger, Purpose
from edge_app.cloud.payload import Payload
from edge_app.cloud.protocol.answer_reader import CloudDone, CloudWaiting, Piece
from edge_app.cloud.protocol.dialect import Dialect, DialectStore, is_about_images
from edge_app.cloud.protocol.model_list import list_models
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


LOADING_SHARE = 0.5
"""Part of the total limit in which an endpoint may load its model; the rest is left for the answer."""
LOADING_PAUSES = (1.0, 5.0)
"""The first and the longest pause, in seconds, between questions to an endpoint that loads its model."""


class Cloud:
    """The endpoint of the settings, for the life of the app. Safe to use from several threads.

    dialects: remembers how the endpoint wants a request; None remembers it for the life of this object.
    """

    def __init__(
        self,
        place: Endpoint,
        ledger: Ledger,
        *,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        find_key: Callable[[str], Key | None] = keys.find,
        breaker: Breaker | None = None,
        dialects: DialectStore | None = None,
    ) -> None:
        self.endpoint = place
        self.breaker = breaker or Breaker()
        self._ledger = ledger
        self._limits = limits or Limits()
        self._backoff = backoff or Backoff()
        self._find_key = find_key
        self._dialects = dialects
        self._dialect: Dialect | None = None

    def spoken(self, payload: Payload) -> Payload:
        """The request as the endpoint is known to want it."""
        if self._dialect is None:
            known = self._dialects.known(self.endpoint.host) if self._dialects is not None else Dialect()
            self._dialect = known
        return self._dialect.of(payload)

    def models(self, session: str | None, cancel: threading.Event) -> frozenset[str] | None:
        """The models that the endpoint lists now, with an entry in the ledger; None when it gives no list.

        The caller has consent for sending to the host.
        """
        if (offline.is_on and not self.endpoint.is_local) or self.breaker.state == "open":
            return None
        request = Payload(self.endpoint, "", 0, None, (), b"", 0)
        entry = self._ledger.begin(request, purpose="turn", session=session, attempt=1)
        found = list_models(self.endpoint, self._find_key(self.endpoint.host), cancel)
        self._ledger.end(entry, request, "malformed" if found is None else "complete", None, "")
        return found

    def ask(
        self,
        payload: Payload,
        *,
        purpose: Purpose = "turn",
        session: str | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[Piece | CloudWaiting, None, None]:
        """The answer in pieces, CloudDone last. After the first piece nothing is tried again.

        A refused field of the request is sent under its other name, or left out, in a second request.

        Raises CloudError; NeedsNetwork when the process is offline; UserError when the keyring is locked.
        """
        if offline.is_on and not payload.endpoint.is_local:
            raise NeedsNetwork(f"The app is offline; asking {payload.endpoint} has to wait.")
        cancel = cancel or threading.Event()
        key = self._find_key(payload.endpoint.host)
        question = _Question(self.spoken(payload), key, cancel, purpose, session, self._limits)
        trial = self.breaker.enter(str(payload.endpoint))
        outcome: Kind | None = "cancelled"  # when the caller closes the iterator
        try:
            yield from self._loaded(question, 0 if trial else self._backoff.retries)
            outcome = None
        except CloudError as error:
            outcome = "cancelled" if error.kind == "spent" else error.kind
            raise
        finally:
            self.breaker.end(outcome, trial=trial)

    def _loaded(self, question: _Question, retries: int) -> Generator[Piece | CloudWaiting, None, None]:
        """As `_tries`. Waits for an endpoint that loads its model; what is left of the total limit is the answer's."""
        started, most = time.monotonic(), LOADING_SHARE * self._limits.total
        pause, longest = LOADING_PAUSES
        while True:
            try:
                yield from self._tries(question, retries)
                return
            except CloudError as error:
                waited = time.monotonic() - started
                if error.kind != "loading" or waited >= most:
                    raise
                wait = min(max(pause, error.retry_after or 0.0), most - waited)
            yield CloudWaiting(str(question.payload.endpoint), int(waited), int(most))
            question.pause(wait)
            pause = min(1.5 * pause, longest)
            left = self._limits.total - (time.monotonic() - started)
            question = replace(question, limits=replace(self._limits, total=left))

    def _tries(self, question: _Question, retries: int) -> Generator[Piece, None, None]:
        known = dialect = self._dialect or Dialect()
        tried: set[str] = set()
        attempt = 0
        while True:
            begun = False
            tried.add(question.payload.sha256)
            try:
                for piece in self._try(question):
                    begun = True
                    yield piece
                if dialect != known:
                    self._learn(dialect)
                return
            except CloudError as error:
                other = None if begun else dialect.after(error, question.payload)
                if other is not None and (changed := other.of(question.payload)).sha256 not in tried:
                    dialect, question = other, replace(question, payload=changed)
                    continue
                pause = self._backoff.pause(attempt, error.retry_after)
                passes = error.kind in PASSING and not (question.payload.images and is_about_images(error))
                if begun or attempt == retries or pause is None or not passes:
                    raise
            attempt += 1
            question.pause(pause)

    def _learn(self, dialect: Dialect) -> None:
        """Speaks this dialect from now on."""
        self._dialect = dialect
        if self._dialects is not None:
            self._dialects.learn(self.endpoint.host, dialect)

    def _try(self, question: _Question) -> Generator[Piece, None, None]:
        """One attempt, recorded in the ledger before it is sent and when it has ended."""
        entry = self._ledger.begin(
            question.payload,
            purpose=question.purpose,
            session=question.session,
            attempt=next(question.attempts),
        )
        status: Kind | Literal["complete"] = "cancelled"
        done: CloudDone | None = None
        texts: list[str] = []
        try:
            with closing(stream(question.payload, question.key, question.limits, question.cancel)) as pieces:
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
    """One question with what its attempts share. attempts: their numbers, from 1."""

    payload: Payload
    key: Key | None
    cancel: threading.Event
    purpose: Purpose
    session: str | None
    limits: Limits
    attempts: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def pause(self, seconds: float) -> None:
        """Waits. Raises CloudError ("cancelled") when the question is stopped meanwhile."""
        if self.cancel.wait(seconds):
            raise CloudError("cancelled", "The answer was stopped.")


def from_settings(settings: Settings, ledger: Ledger, dialects: DialectStore | None = None) -> Cloud | None:
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
        dialects=dialects,
    )


def configured(settings: Settings) -> Endpoint:
    """The endpoint of the settings. Raises UserError when none is set up, or when it is incomplete or invalid."""
    if settings.cloud_url is None or settings.cloud_model is None:
        missing = "cloud_url" if settings.cloud_url is None else "cloud_model"
        raise UserError(f"No cloud is set up ({missing} is missing); run `edge-app cloud setup`.")
    return endpoint(settings.cloud_url, settings.cloud_model)
