"""Saved sessions: a turn is written as it happens, so that a crash loses nothing that was shown.

Turns are rows of the database; their images are files beside it, named by content hash.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from edge_app.answer import Answer
from edge_app.storage.database import DatabaseFile, is_alive, is_full, may_write, moment, storable
from edge_app.storage.image_files import ImageFiles
from edge_app.storage.session_records import (
    Match,
    NewImage,
    SavedImage,
    SavedTurn,
    SavedTurnId,
    Session,
    SessionSummary,
    Status,
)
from edge_app.system import paths
from models.core.errors import UserError

TITLE_CHARACTERS = 60
OWN_COLUMNS = ("place", "reason", "kept", "broken")
"""Fields of an answer that have a column of their own; the others are in the JSON of `details`."""


class SessionStore(DatabaseFile):
    """The sessions in the database. Every method raises UserError when the disk refuses."""

    holds = "the sessions"

    def __init__(self, file: Path, images: Path) -> None:
        """Opens or creates the database, and marks turns that a dead process left unfinished as interrupted."""
        self._images = ImageFiles(images)
        super().__init__(file)
        try:
            self._mark_interrupted()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls) -> SessionStore:
        """The sessions of this user (see edge_app.system.paths)."""
        return cls(paths.sessions_file(), paths.images_directory())

    @classmethod
    def open_to_read(cls) -> SessionStore:
        """The same to list, show and search, which also works where nothing can be written, and makes no folder."""
        file = paths.sessions_file()
        if file.exists() and may_write(file):
            try:
                return cls.open()
            except UserError:  # such as a full disk, which can be read
                if not is_full(file.parent):
                    raise
        store = cls._reading(file)
        store._images = ImageFiles(paths.images_directory())
        return store

    # -- writing

    def begin_turn(
        self, *, session: str | None, question: str, images: Sequence[NewImage], system: str | None
    ) -> SavedTurnId:
        """Saves a question with its images in one transaction. session: None starts a new one."""
        now, question = moment(), storable(question)
        with self._transaction():
            if session is None:
                session = self._new_session(question, now)
            if not self._rows("SELECT 1 FROM sessions WHERE id = ?", session):
                raise UserError(f"The session {session} was deleted in the meantime; start a new one.")
            self._db.execute(
                "UPDATE sessions SET updated = ?, system = coalesce(?, system) WHERE id = ?",
                [now, None if system is None else storable(system), session],
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
                    [turn, position, image.digest, storable(image.name)],
                )
        return SavedTurnId(session, turn)

    def save_partial(self, saved: SavedTurnId, answer: str) -> None:
        """Saves the text generated so far; the status stays "answering"."""
        with self._transaction():
            self._db.execute("UPDATE turns SET answer = ? WHERE id = ?", [answer, saved.turn])

    def save_broken(self, saved: SavedTurnId, text: str) -> None:
        """Saves the cloud answer received so far beside the local answer."""
        with self._transaction():
            self._db.execute("UPDATE turns SET broken = ? WHERE id = ?", [storable(text), saved.turn])

    def finish_turn(self, saved: SavedTurnId, status: Literal["complete", "stopped"], answer: Answer) -> None:
        """Saves the answer and ends the turn. A later answer to the same turn may replace it."""
        details = answer.details()
        place, reason, kept, broken = (details.pop(name) for name in OWN_COLUMNS)
        with self._transaction():
            self._end(saved, status, answer.text, None, json.dumps(details, ensure_ascii=False))
            self._db.execute(
                "UPDATE turns SET place = ?, reason = ?, kept = ?, broken = ? WHERE id = ?",
                [place, storable(reason), _storable(kept), _storable(broken), saved.turn],
            )

    def fail_turn(self, saved: SavedTurnId, answer: str, error: str) -> None:
        with self._transaction():
            self._end(saved, "failed", answer, storable(error), None)

    def rename(self, session: str, title: str) -> None:
        """Gives a session another title. Raises UserError for an empty one."""
        shortened = _title(storable(title))
        if not shortened:
            raise UserError("Give the session a title of at least one letter.")
        with self._transaction():
            self._db.execute("UPDATE sessions SET title = ? WHERE id = ?", [shortened, self.resolve(session)])

    def set_options(self, session: str, options: Mapping[str, Any]) -> None:
        """Saves what the user set for this session alone, in place of what was set before."""
        text = json.dumps(dict(options)) if options else None
        with self._transaction():
            self._db.execute("UPDATE sessions SET options = ? WHERE id = ?", [text, self.resolve(session)])

    def fork(self, session: str, through: int | None = None) -> str:
        """Copies a session into a new one and returns the id of the copy.

        through: the id of the last turn that is copied; None copies all. A turn that is still being answered is left
        out. Images are shared with the original.
        """
        now, copy = moment(), secrets.token_hex(6)
        with self._transaction():
            original = self.resolve(session)
            self._db.execute(
                "INSERT INTO sessions (id, title, system, options, created, updated)"
                " SELECT ?, title, system, options, ?, ? FROM sessions WHERE id = ?",
                [copy, now, now, original],
            )
            turns = self._rows(
                "SELECT id FROM turns WHERE session = ? AND id <= ? AND status != 'answering' ORDER BY id",
                original,
                2**62 if through is None else through,
            )
            columns = "question, answer, status, error, details, created, process, process_started, " + (
                "place, reason, kept, broken"
            )
            for turn in turns:
                new = self._db.execute(
                    f"INSERT INTO turns (session, {columns}) SELECT ?, {columns} FROM turns WHERE id = ?",
                    [copy, turn["id"]],
                ).lastrowid
                self._db.execute(
                    "INSERT INTO turn_images (turn, position, digest, name)"
                    " SELECT ?, position, digest, name FROM turn_images WHERE turn = ?",
                    [new, turn["id"]],
                )
        return copy

    def delete(self, session: str) -> None:
        """Deletes a session, its turns, and the images that no other session has.

        The rows go first: a crash between the two transactions leaves an unused image, never a turn without one.
        """
        with self._transaction():
            self._db.execute("DELETE FROM sessions WHERE id = ?", [self.resolve(session)])
        with self._transaction():
            used = self._rows("SELECT DISTINCT digest FROM turn_images")
            self._images.remove_all_but({row["digest"] for row in used})

    # -- reading

    def recent(self, limit: int | None = None) -> tuple[SessionSummary, ...]:
        """All sessions or the first `limit`, the most recently used first."""
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
            storable(beginning.lower()),
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
        """A session with its turns, by its id or the beginning of it."""
        with self._lock:
            (head,) = self._rows("SELECT * FROM sessions WHERE id = ?", self.resolve(session))
            turns = self._rows("SELECT * FROM turns WHERE session = ? ORDER BY id", head["id"])
            options = json.loads(head.pop("options") or "{}")
            return Session(**head, options=options, turns=tuple(self._turn(row, head["id"]) for row in turns))

    def search(self, words: str, limit: int = 50) -> tuple[Match, ...]:
        """Turns that have all the words ("in quotes" for a phrase) in question or answer, the best match first.

        Raises UserError when words is empty.
        """
        query = self._db.quote_fts(storable(words).replace("\0", " "))
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
        """Inserts a session titled by the question's first line. Its id is 48 random bits in hexadecimal."""
        session = secrets.token_hex(6)
        self._db.execute(
            "INSERT INTO sessions (id, title, created, updated) VALUES (?, ?, ?, ?)",
            [session, _title(question), now, now],
        )
        return session

    def _end(
        self, saved: SavedTurnId, status: Status, answer: str, error: str | None, details: str | None
    ) -> None:
        """Sets the end of a turn. Must be called inside a transaction."""
        self._db.execute(
            "UPDATE turns SET status = ?, answer = ?, error = ?, details = ? WHERE id = ?",
            [status, storable(answer), error, details, saved.turn],
        )
        self._db.execute("UPDATE sessions SET updated = ? WHERE id = ?", [moment(), saved.session])

    def _turn(self, row: dict[str, Any], session: str) -> SavedTurn:
        images = self._rows(
            "SELECT digest, name FROM turn_images WHERE turn = ? ORDER BY position", row["id"]
        )
        details = json.loads(row["details"]) if row["details"] else None
        if details is not None:
            details |= {name: row[name] for name in OWN_COLUMNS}
        return SavedTurn(
            id=row["id"],
            question=row["question"],
            answer=row["answer"],
            status=row["status"],
            error=row["error"],
            created=row["created"],
            images=tuple(SavedImage(i["digest"], i["name"], self._images.file(i["digest"])) for i in images),
            result=Answer.from_details(row["answer"], session, details) if details else None,
            kept=row["kept"],
            broken=row["broken"],
        )

    def _mark_interrupted(self) -> None:
        """Marks the turns in "answering" whose process no longer runs."""
        rows = self._rows("SELECT id, process, process_started FROM turns WHERE status = 'answering'")
        dead = [row["id"] for row in rows if not is_alive(row["process"], row["process_started"])]
        if dead:
            with self._transaction():
                for turn in dead:
                    self._db.execute(
                        "UPDATE turns SET status = 'interrupted' WHERE id = ? AND status = 'answering'",
                        [turn],
                    )


def _title(text: str) -> str:
    """The first line of a text, shortened to TITLE_CHARACTERS."""
    lines = text.strip().splitlines()
    title = lines[0] if lines else ""
    return title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1].rstrip() + "…"


def _storable(text: str | None) -> str | None:
    return None if text is None else storable(text)
