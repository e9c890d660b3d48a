"""Sessions on disk: every turn is saved as it happens, so that a crash keeps what there was.

SQLite in WAL mode; images by content hash beside it. Knows nothing of models: answers come in as facts.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from sqlite_utils import Database

from edge_app import paths
from edge_app.events import Answer
from edge_app.image_files import ImageFiles
from edge_app.migrations import migrate
from models.errors import UserError

Status = Literal["answering", "complete", "stopped", "failed", "interrupted"]
"""interrupted: its process died in the middle of the answer."""

BUSY_SECONDS = 10.0
TITLE_CHARACTERS = 60
USER_CAUSED = (  # what a full disk, a wrong permission or a foreign file look like
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)


@dataclass(frozen=True)
class NewImage:
    """digest: sha256 (hex) of data. name: what the user calls it."""

    digest: str
    name: str
    data: bytes


@dataclass(frozen=True)
class SavedImage:
    digest: str
    name: str
    file: Path


@dataclass(frozen=True)
class SavedTurnId:
    session: str
    turn: int


@dataclass(frozen=True)
class SavedTurn:
    """answer: what there is of it. result: how it came about; None unless complete or stopped.
    error: the sentence the user saw, when it failed. created: ISO 8601, UTC."""

    id: int
    question: str
    answer: str
    status: Status
    error: str | None
    created: str
    images: tuple[SavedImage, ...]
    result: Answer | None


@dataclass(frozen=True)
class SessionSummary:
    id: str
    title: str
    created: str
    updated: str
    turns: int


@dataclass(frozen=True)
class Session:
    id: str
    title: str
    system: str | None
    created: str
    updated: str
    turns: tuple[SavedTurn, ...]


@dataclass(frozen=True)
class Match:
    """A turn that a search found; excerpt marks the words found as [words]."""

    session: str
    title: str
    turn: int
    created: str
    excerpt: str


class SessionStore:
    """One database. Safe to use from several threads; several processes may have the same one open.

    Every method raises UserError when the disk does not cooperate (full, read-only, busy for BUSY_SECONDS).
    """

    def __init__(self, file: Path, images: Path) -> None:
        """Opens or creates it, brings it up to date, marks the turns that a dead process left unfinished."""
        self._file = file
        self._images = ImageFiles(images)
        self._lock = threading.RLock()
        paths.ensure(file.parent)
        with self._errors():
            connection = sqlite3.connect(
                file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA foreign_keys = ON")
                self._db = Database(connection, execute_plugins=False)
                migrate(self._db, file)
                self._mark_interrupted()
            except BaseException:
                connection.close()
                raise

    @classmethod
    def open(cls) -> SessionStore:
        """The user's own sessions."""
        return cls(paths.sessions_file(), paths.images_directory())

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- writing

    def begin_turn(
        self, *, session: str | None, question: str, images: Sequence[NewImage], system: str | None
    ) -> SavedTurnId:
        """Saves a question (in a new session when session is None) with its images, all or nothing."""
        now, question = _now(), _storable(question)
        with self._transaction():
            if session is None:
                session = self._new_session(question, now)
            if not self._rows("SELECT 1 FROM sessions WHERE id = ?", session):
                raise UserError(f"The session {session} was deleted in the meantime; start a new one.")
            self._db.execute(
                "UPDATE sessions SET updated = ?, system = coalesce(?, system) WHERE id = ?",
                [now, None if system is None else _storable(system), session],
            )
            process = psutil.Process()
            turn = self._db.execute(
                "INSERT INTO turns (session, question, status, created, process, process_started)"
                " VALUES (?, ?, 'answering', ?, ?, ?)",
                [session, question, now, process.pid, process.create_time()],
            ).lastrowid
            assert turn is not None
            for position, image in enumerate(images):
                self._images.write(image.digest, image.data)
                self._db.execute(
                    "INSERT INTO turn_images (turn, position, digest, name) VALUES (?, ?, ?, ?)",
                    [turn, position, image.digest, _storable(image.name)],
                )
        return SavedTurnId(session, turn)

    def save_partial(self, saved: SavedTurnId, answer: str) -> None:
        """What has been generated so far. The turn stays "answering"."""
        with self._transaction():
            self._db.execute("UPDATE turns SET answer = ? WHERE id = ?", [answer, saved.turn])

    def finish_turn(self, saved: SavedTurnId, status: Literal["complete", "stopped"], answer: Answer) -> None:
        self._end(saved, status, answer.answer, None, json.dumps(answer.details(), ensure_ascii=False))

    def fail_turn(self, saved: SavedTurnId, answer: str, error: str) -> None:
        self._end(saved, "failed", answer, _storable(error), None)

    def delete(self, session: str) -> None:
        """The session, its turns, and the images that no other session has.

        In two steps: who dies in between leaves an image too many, never a session without its images.
        """
        with self._transaction():
            self._db.execute("DELETE FROM sessions WHERE id = ?", [self.resolve(session)])
        with self._transaction():
            used = self._rows("SELECT DISTINCT digest FROM turn_images")
            self._images.remove_all_but({row["digest"] for row in used})

    # -- reading

    def recent(self, limit: int | None = None) -> tuple[SessionSummary, ...]:
        """The most recently used first."""
        rows = self._rows(
            "SELECT s.id, s.title, s.created, s.updated, count(t.id) AS turns FROM sessions s"
            " LEFT JOIN turns t ON t.session = s.id GROUP BY s.id"
            " ORDER BY s.updated DESC, s.rowid DESC LIMIT ?",
            -1 if limit is None else limit,
        )
        return tuple(SessionSummary(**row) for row in rows)

    def latest(self) -> str:
        """The id of the session used last. Raises UserError when there is none."""
        sessions = self.recent(1)
        if not sessions:
            raise UserError("There is no session to continue yet.")
        return sessions[0].id

    def resolve(self, beginning: str) -> str:
        """The full id for an id or its beginning. Raises UserError when none or several fit."""
        rows = self._rows(
            "SELECT id FROM sessions WHERE substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT 4",
            _storable(beginning.lower()),
        )
        found = [row["id"] for row in rows] if beginning else []
        if not found:
            raise UserError(
                f"There is no session {beginning!r}; `edge-app sessions list` shows those there are."
            )
        if len(found) > 1:
            raise UserError(
                f"Several sessions begin with {beginning!r} ({', '.join(found)}); give more of the id."
            )
        return str(found[0])

    def get(self, session: str) -> Session:
        """A whole session, by its id or the beginning of it."""
        with self._lock:
            (head,) = self._rows("SELECT * FROM sessions WHERE id = ?", self.resolve(session))
            turns = self._rows("SELECT * FROM turns WHERE session = ? ORDER BY id", head["id"])
            return Session(**head, turns=tuple(self._turn(row, head["id"]) for row in turns))

    def search(self, words: str, limit: int = 50) -> tuple[Match, ...]:
        """Turns whose question or answer has all the words ("in quotes" for a phrase), the best first."""
        query = self._db.quote_fts(_storable(words).replace("\0", " "))
        if not query:
            raise UserError("Say what to search for.")
        rows = self._rows(
            "SELECT t.session, s.title, t.id AS turn, t.created,"
            " snippet(turns_fts, -1, '[', ']', '…', 16) AS excerpt"
            " FROM turns_fts JOIN turns t ON t.id = turns_fts.rowid JOIN sessions s ON s.id = t.session"
            " WHERE turns_fts MATCH ? ORDER BY turns_fts.rank LIMIT ?",
            query,
            limit,
        )
        return tuple(Match(**row) for row in rows)

    # -- inside

    def _new_session(self, question: str, now: str) -> str:
        """Ids are random; 48 bits keep short beginnings unique and the whole readable."""
        session = secrets.token_hex(6)
        lines = question.strip().splitlines()
        title = lines[0] if lines else ""
        if len(title) > TITLE_CHARACTERS:
            title = title[: TITLE_CHARACTERS - 1].rstrip() + "…"
        self._db.execute(
            "INSERT INTO sessions (id, title, created, updated) VALUES (?, ?, ?, ?)",
            [session, title, now, now],
        )
        return session

    def _end(
        self, saved: SavedTurnId, status: Status, answer: str, error: str | None, details: str | None
    ) -> None:
        with self._transaction():
            self._db.execute(
                "UPDATE turns SET status = ?, answer = ?, error = ?, details = ? WHERE id = ?",
                [status, answer, error, details, saved.turn],
            )
            self._db.execute("UPDATE sessions SET updated = ? WHERE id = ?", [_now(), saved.session])

    def _turn(self, row: dict[str, Any], session: str) -> SavedTurn:
        images = self._rows(
            "SELECT digest, name FROM turn_images WHERE turn = ? ORDER BY position", row["id"]
        )
        details = json.loads(row["details"]) if row["details"] else None
        return SavedTurn(
            id=row["id"],
            question=row["question"],
            answer=row["answer"],
            status=row["status"],
            error=row["error"],
            created=row["created"],
            images=tuple(SavedImage(i["digest"], i["name"], self._images.file(i["digest"])) for i in images),
            result=Answer.from_details(row["answer"], session, details) if details else None,
        )

    def _mark_interrupted(self) -> None:
        """Only when the very process that answered is gone (its number may be another's by now)."""
        rows = self._rows("SELECT id, process, process_started FROM turns WHERE status = 'answering'")
        dead = [row["id"] for row in rows if not _is_alive(row["process"], row["process_started"])]
        if dead:
            with self._transaction():
                for turn in dead:
                    self._db.execute(
                        "UPDATE turns SET status = 'interrupted' WHERE id = ? AND status = 'answering'",
                        [turn],
                    )

    def _rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with self._lock, self._errors():
            return list(self._db.query(sql, list(values)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Takes the write lock at once: whoever reads inside it reads what it will change."""
        with self._lock, self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.conn.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "")
            if not name.startswith(USER_CAUSED):
                raise
            raise UserError(f"Cannot use the sessions in {self._file}: {error}.") from error


def _is_alive(process: int, started: float) -> bool:
    try:
        return bool(abs(psutil.Process(process).create_time() - started) < 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, or the system's: it is there
        return True


def _storable(text: str) -> str:
    """What UTF-8 cannot hold (an argument or a file name in another encoding) as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
