"""A turn's answer from the endpoint: asks for consent, streams, and saves as it comes. On the caller's thread.

The counterpart of edge_app/turns/local_answer.py, which computes one here. Whatever happens, what came is in
`text`, and
a local answer that was there before is untouched. Knows no policy: it is told why it asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from edge_app.cloud.access import Remote
from edge_app.cloud.errors import CloudError
from edge_app.cloud.payload import Payload, tokens_of
from edge_app.events import Answer, Escalated, Event, StopReason, Timing, TokenCounts, TokenText
from edge_app.storage.sessions import SessionStore
from edge_app.turns.local_answer import FLUSH_SECONDS
from edge_app.turns.planned_turn import Planned
from models.core.errors import UserError
from router.reason import Reason

if TYPE_CHECKING:
    from edge_app.cloud.client import CloudDone


class RemoteAnswering:
    """Iterate `run` once. Afterwards exactly one holds: it is `whole`, was `cancelled`, was `refused` (nothing
    was sent), or there is an `error`.

    why: the event that tells that it is being asked. kept: the local answer, or its beginning. stopped: ends it
    within a tenth of a second, from any thread. interruption: a Ctrl-C that came meanwhile and stopped it.
    """

    def __init__(
        self,
        planned: Planned,
        remote: Remote,
        sessions: SessionStore | None,
        why: Escalated,
        kept: str | None,
        stopped: threading.Event,
    ) -> None:
        self.text = ""
        self.whole = False
        self.cancelled = False
        self.refused: Reason | None = None
        self.error: UserError | None = None
        self.interruption: KeyboardInterrupt | None = None
        self._planned = planned
        self._remote = remote
        self._sessions = sessions
        self._why = why
        self._kept = kept
        self._stopped = stopped
        self._request: Payload | None = None
        self._done: CloudDone | None = None
        self._first_ms: float | None = None
        self._began = time.perf_counter()
        self._saver = _Saver(self._save_partial)

    @property
    def has_answer(self) -> bool:
        """Whether what came is the turn's answer: all of it, or as far as the user wanted it."""
        return self.whole or (self.cancelled and bool(self.text))

    @property
    def seconds(self) -> float:
        """Since it was sent."""
        return time.perf_counter() - self._began

    def run(self) -> Generator[Event, None, None]:
        try:
            yield from self._run()
        except CloudError as error:
            self.cancelled = error.kind == "cancelled"
            self.error = None if self.cancelled else error
        except UserError as error:  # an answer that came whole is one, whatever else went wrong
            self.error = None if self.whole else error
        except KeyboardInterrupt as interruption:  # raised while waiting: it ends as cancelled
            self._stopped.set()
            self.cancelled, self.interruption = True, interruption
        except GeneratorExit:
            self.cancelled = True
            raise
        finally:
            self._saver.stop()

    def _run(self) -> Generator[Event, None, None]:
        from edge_app.cloud.client import CloudDone  # brings TLS along: not for who has no endpoint

        self.cancelled = self._stopped.is_set()
        self.refused = self._planned.places.standing.obstacle
        if self.cancelled or self.refused is not None:  # then nobody is asked for consent either
            return
        turn, session = self._planned.turn, self._planned.session_id
        side = self._planned.places.scenario.budgets.image_side
        request = self._remote.propose(self._planned.messages, self._planned.sampling, side)
        self.refused = self._remote.refusal(
            request, self._why.reason, session, self._stopped, allow_cloud=turn.allow_cloud
        )
        if self._stopped.is_set():
            self.cancelled, self.refused = True, None
        if self.cancelled or self.refused is not None:
            return
        self._request, self._began = request, time.perf_counter()
        yield self._why
        with closing(self._remote.ask(request, session, self._stopped)) as pieces:
            for piece in pieces:
                if isinstance(piece, CloudDone):
                    self._done, self.whole = piece, True
                    continue  # to the very end: who leaves before it has not got an answer, says the breaker
                self._first_ms = self._first_ms or self._planned.elapsed()
                self.text += piece.text
                self._saver.start()
                yield TokenText(piece.text)

    def save_broken(self) -> None:
        """What came until it failed, beside the local answer that there is or will be."""
        saved = self._planned.saved
        if self._sessions is not None and saved is not None and self.text:
            with suppress(UserError):  # the end of the turn says what is wrong with the disk
                self._sessions.save_broken(saved, self.text)

    def _save_partial(self) -> None:
        """Beside the local answer, or in its place where there is none yet."""
        saved = self._planned.saved
        if self._sessions is not None and saved is not None:
            with suppress(UserError):  # the end of the turn says what is wrong with the disk
                if self._kept is None:
                    self._sessions.save_partial(saved, self.text)
                else:
                    self._sessions.save_broken(saved, self.text)

    def _speed(self, completion: int) -> float | None:
        """Where the endpoint counted the tokens."""
        streaming = self._planned.elapsed() - (self._first_ms or 0.0)
        if self._done is None or self._done.completion_tokens is None or completion < 2 or streaming <= 0:
            return None
        return 1000 * (completion - 1) / streaming

    def answer(self) -> Answer:
        """As it stands: whole, or stopped where it was."""
        planned, request, done = self._planned, self._request, self._done
        reason: StopReason = done.stop_reason if done is not None else "cancelled"
        prompt, completion = request.prompt_tokens if request is not None else 0, tokens_of(self.text)
        if done is not None and done.prompt_tokens is not None and done.completion_tokens is not None:
            prompt, completion = done.prompt_tokens, done.completion_tokens
        return Answer(
            text=self.text,
            adapter=None,
            place="cloud",
            mode=planned.turn.mode,
            confidence=None,
            reason=self._why.reason,
            reason_kind=self._why.reason_kind,
            model=request.endpoint.model if request is not None else "",
            stop_reason=reason,
            tokens=TokenCounts(prompt=prompt, completion=completion),
            timings=Timing(route=planned.route_ms, first_token=self._first_ms, total=planned.elapsed()),
            tokens_per_second=self._speed(completion),
            session=planned.session_id,
            kept=self._kept,
        )


class _Saver:
    """Saves what has come within FLUSH_SECONDS, whether or not more comes: an endpoint may pause for long."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Something has come."""
        with self._lock:
            if self._timer is None and not self._stopped:
                self._timer = threading.Timer(FLUSH_SECONDS, self._fire)
                self._timer.daemon = True
                self._timer.start()

    def stop(self) -> None:
        """From here on nothing is saved: what is saved at the end of a turn stays."""
        with self._lock:
            self._stopped = True
            if self._timer is not None:
                self._timer.cancel()

    def _fire(self) -> None:
        with self._lock:
            self._timer = None
            if not self._stopped:
                self._save()
