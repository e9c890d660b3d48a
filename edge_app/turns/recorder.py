"""Saves one turn in its session: the question, the answer as it comes, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from edge_app.answer import Answer
from edge_app.storage.session_records import SavedTurnId
from edge_app.storage.sessions import SessionStore
from edge_app.turns.conversation import new_images
from edge_app.turns.planner import PlannedTurn
from models.core.errors import UserError

FLUSH_SECONDS = 1.0
"""The longest part of an answer, in seconds, that is lost when the process is killed."""


class TurnRecorder:
    """Saves one turn. Safe to use from several threads.

    sessions: None saves nothing. saved: the turn in the store; None when nothing is saved.
    """

    def __init__(self, sessions: SessionStore | None, saved: SavedTurnId | None) -> None:
        self._sessions = sessions
        self._saved = saved

    @classmethod
    def begin(cls, sessions: SessionStore | None, planned: PlannedTurn) -> TurnRecorder:
        """Saves the question and its images. Raises UserError when the disk is full, read-only or busy."""
        if sessions is None:
            return cls(None, None)
        saved = sessions.begin_turn(
            session=planned.session,
            question=planned.turn.question,
            images=new_images(planned.new),
            system=planned.system,
        )
        return cls(sessions, saved)

    @property
    def saved(self) -> SavedTurnId | None:
        return self._saved

    @property
    def session(self) -> str | None:
        """The id of the session; None when nothing is saved."""
        return self._saved.session if self._saved is not None else None

    def save_partial(self, text: str) -> None:
        """Saves the answer so far. Raises UserError."""
        if self._sessions is not None and self._saved is not None:
            self._sessions.save_partial(self._saved, text)

    def save_broken(self, text: str) -> None:
        """Saves a cloud answer so far, beside the local answer. Disk errors are reported at the end of the turn."""
        if self._sessions is not None and self._saved is not None:
            with suppress(UserError):
                self._sessions.save_broken(self._saved, text)

    def finish(self, answer: Answer) -> None:
        """Saves the answer of the turn, complete or stopped. Raises UserError."""
        if self._sessions is not None and self._saved is not None:
            stopped = answer.stop_reason == "cancelled"
            self._sessions.finish_turn(self._saved, "stopped" if stopped else "complete", answer)

    def fail(self, text: str, sentence: str) -> None:
        """Saves that the turn failed after this text. A disk error is dropped; the first failure counts."""
        if self._sessions is not None and self._saved is not None:
            with suppress(UserError):
                self._sessions.fail_turn(self._saved, text, sentence)


class TimedSaver:
    """Calls `save` on a timer thread within FLUSH_SECONDS after `text_came`, also when nothing more comes."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stopped = False

    def text_came(self) -> None:
        with self._lock:
            if self._timer is None and not self._stopped:
                self._timer = threading.Timer(FLUSH_SECONDS, self._fire)
                self._timer.daemon = True
                self._timer.start()

    def stop(self) -> None:
        """Nothing is saved after this returns, so the end of the turn is not overwritten."""
        with self._lock:
            self._stopped = True
            if self._timer is not None:
                self._timer.cancel()

    def _fire(self) -> None:
        with self._lock:
            self._timer = None
            if not self._stopped:
                self._save()
