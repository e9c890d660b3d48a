"""The schema of the database, as numbered steps from an empty file on.

A released step is never edited; a change is a new step. PRAGMA user_version holds the number of the last step.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.core.errors import UserError
from router.confidence.declines import is_decline

if TYPE_CHECKING:
    from sqlite_utils import Database


def _version_1(db: Database) -> None:
    """Sessions, their turns, and which images belong to which turn; full-text search over the turns."""
    db.table("sessions").create(
        {"id": str, "title": str, "system": str, "created": str, "updated": str},
        pk="id",
        not_null={"title", "created", "updated"},
        strict=True,
    )
    # Written out, since it has ON DELETE CASCADE and a check.
    db.execute("""
        CREATE TABLE turns (
            id INTEGER PRIMARY KEY,
            session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
            question TEXT NOT NULL,
            answer TEXT NOT NULL DEFAULT '',
            status TEXT NOT NULL
                CHECK (status IN ('answering', 'complete', 'stopped', 'failed', 'interrupted')),
            error TEXT,
            details TEXT,            -- the answer's facts as JSON (events.Answer without its text)
            created TEXT NOT NULL,
            process INTEGER NOT NULL,
            process_started REAL NOT NULL
        ) STRICT
    """)
    db.execute("CREATE INDEX turns_of_session ON turns (session, id)")
    db.execute("""
        CREATE TABLE turn_images (
            turn INTEGER NOT NULL REFERENCES turns(id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            digest TEXT NOT NULL,
            name TEXT NOT NULL,
            PRIMARY KEY (turn, position)
        ) STRICT
    """)
    db.execute("CREATE INDEX turns_of_image ON turn_images (digest)")
    db.table("turns").enable_fts(
        ["question", "answer"], create_triggers=True, tokenize="unicode61 remove_diacritics 2"
    )


def _version_2(db: Database) -> None:
    """The requests that left the device, and the consent that the user gave or refused."""
    # No reference to sessions: the record stays when a session is deleted.
    db.execute("""
        CREATE TABLE cloud_requests (
            id INTEGER PRIMARY KEY,
            sent TEXT NOT NULL,
            ended TEXT,
            purpose TEXT NOT NULL CHECK (purpose IN ('turn', 'test')),
            session TEXT,
            attempt INTEGER NOT NULL,          -- 1 is the first try of a question
            host TEXT NOT NULL,
            model TEXT NOT NULL,
            sha256 TEXT NOT NULL,              -- of the body, to the byte
            bytes INTEGER NOT NULL,
            images TEXT NOT NULL,              -- JSON: [{"digest", "sha256", "bytes", "width", "height"}]
            status TEXT NOT NULL,              -- sending, complete, or the kind of failure
            prompt_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL,
            counted INTEGER NOT NULL,          -- 1: by the endpoint; 0: our estimate
            cost REAL,                         -- NULL: the model has no price
            process INTEGER NOT NULL,
            process_started REAL NOT NULL
        ) STRICT
    """)
    db.execute("CREATE INDEX cloud_requests_sent ON cloud_requests (sent)")
    db.execute("""
        CREATE TABLE cloud_consent (
            host TEXT NOT NULL,
            session TEXT NOT NULL,             -- '' for every chat
            allowed INTEGER NOT NULL,
            decided TEXT NOT NULL,
            PRIMARY KEY (host, session)
        ) STRICT
    """)
    db.execute("""
        CREATE TABLE cloud_withheld_images (
            digest TEXT PRIMARY KEY,
            decided TEXT NOT NULL
        ) STRICT
    """)


def _version_3(db: Database) -> None:
    """Place and reason of an answer, and the other answer to its question, as columns of every turn.

    Confidences of earlier versions are erased: they were a mean of the model's own probabilities, which stays as
    mean_logprob, while later ones are a probability of being right.
    """
    db.execute("ALTER TABLE turns ADD COLUMN place TEXT CHECK (place IN ('local', 'cloud'))")
    db.execute("ALTER TABLE turns ADD COLUMN reason TEXT")
    db.execute("ALTER TABLE turns ADD COLUMN kept TEXT")  # the local answer, when the cloud's is the answer
    db.execute("ALTER TABLE turns ADD COLUMN broken TEXT")  # of a cloud answer: as far as it came
    db.execute("""
        UPDATE turns SET place = json_extract(details, '$.place'), reason = json_extract(details, '$.reason'),
            details = json_remove(json_set(details, '$.confidence', NULL), '$.place', '$.reason')
        WHERE details IS NOT NULL
    """)


def _version_4(db: Database) -> None:
    """Running averages of what answers cost, by place and adapter."""
    db.execute("""
        CREATE TABLE expectations (
            place TEXT NOT NULL CHECK (place IN ('local', 'cloud')),
            adapter TEXT NOT NULL,             -- '' for none
            answers INTEGER NOT NULL,
            correct REAL NOT NULL,
            seconds REAL NOT NULL,
            joules REAL NOT NULL,
            money REAL NOT NULL,
            updated TEXT NOT NULL,
            PRIMARY KEY (place, adapter)
        ) STRICT
    """)


def _version_5(db: Database) -> None:
    """Whether an answer is a decline, which has no confidence, and whether its confidence is calibrated.

    Confidences of earlier versions count as not calibrated, because the rule was another one.
    """
    rows = db.execute("SELECT id, answer, details FROM turns WHERE details IS NOT NULL").fetchall()
    for turn, answer, details in rows:
        facts = {**json.loads(details), "declined": is_decline(answer), "calibrated": False}
        if facts["declined"]:
            facts["confidence"] = None
        db.execute("UPDATE turns SET details = ? WHERE id = ?", [json.dumps(facts, ensure_ascii=False), turn])


def _version_6(db: Database) -> None:
    """What the user set for one chat alone, such as a temperature, as a JSON object; NULL when nothing was."""
    db.execute("ALTER TABLE sessions ADD COLUMN options TEXT")


def _version_7(db: Database) -> None:
    """How endpoints want a request, by host."""
    db.execute("""
        CREATE TABLE cloud_dialects (
            host TEXT PRIMARY KEY,
            limit_field TEXT CHECK (limit_field IN ('max_tokens', 'max_completion_tokens')),
            counts INTEGER NOT NULL,           -- 1: it takes stream_options
            learnt TEXT NOT NULL
        ) STRICT
    """)


def _version_8(db: Database) -> None:
    """Answered pages of `extract`, by file, page and task, and the values that the user accepted or corrected."""
    db.execute("""
        CREATE TABLE extracted_pages (
            task TEXT NOT NULL,                -- the identity of everything that can change the answer
            sha256 TEXT NOT NULL,              -- of the file
            page INTEGER NOT NULL,
            answer TEXT NOT NULL,              -- JSON: values, confidences, adapter, place, declined
            made TEXT NOT NULL,
            PRIMARY KEY (task, sha256, page)
        ) STRICT, WITHOUT ROWID
    """)
    db.execute("""
        CREATE TABLE extracted_corrections (
            sha256 TEXT NOT NULL,
            page INTEGER NOT NULL,
            field TEXT NOT NULL,               -- name and kind, or the question
            value TEXT NOT NULL,               -- JSON
            decided TEXT NOT NULL,
            PRIMARY KEY (sha256, page, field)
        ) STRICT, WITHOUT ROWID
    """)


def _version_9(db: Database) -> None:
    """The models that endpoints list, by host."""
    db.execute("""
        CREATE TABLE cloud_models (
            host TEXT PRIMARY KEY,
            models TEXT NOT NULL,              -- JSON: a list of names
            listed TEXT NOT NULL
        ) STRICT
    """)


def _version_10(db: Database) -> None:
    """Whether an endpoint takes the schema of an answer."""
    db.execute("ALTER TABLE cloud_dialects ADD COLUMN formats INTEGER NOT NULL DEFAULT 1")


def _version_11(db: Database) -> None:
    """The index of the words is written only when the text of a turn changes, not at every change of the row."""
    db.execute('DROP TRIGGER "turns_au"')
    db.execute("""
        CREATE TRIGGER turns_au AFTER UPDATE OF question, answer ON turns
        WHEN old.question IS NOT new.question OR old.answer IS NOT new.answer
        BEGIN
            INSERT INTO turns_fts (turns_fts, rowid, question, answer)
                VALUES ('delete', old.id, old.question, old.answer);
            INSERT INTO turns_fts (rowid, question, answer) VALUES (new.id, new.question, new.answer);
        END
    """)


def _version_12(db: Database) -> None:
    """The fields of a request that an endpoint refuses, as a JSON list, in the place of a column for each."""
    db.execute("ALTER TABLE cloud_dialects ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]'")
    for column, name in (("counts", "stream_options"), ("formats", "response_format")):
        db.execute(
            f"UPDATE cloud_dialects SET left_out = json_insert(left_out, '$[#]', ?) WHERE {column} = 0",
            [name],
        )
        db.execute(f"ALTER TABLE cloud_dialects DROP COLUMN {column}")


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    *(_version_1, _version_2, _version_3, _version_4),
    *(_version_5, _version_6, _version_7, _version_8),
    *(_version_9, _version_10, _version_11, _version_12),
)


def migrate(db: Database, file: Path, steps: tuple[Callable[[Database], None], ...] = MIGRATIONS) -> None:
    """Brings the database to the newest version, each step in a transaction. Two processes may call it at once.

    Raises UserError when a newer edge-app wrote it.
    """
    if _version(db.conn) == len(steps):
        return
    while True:
        db.execute("BEGIN IMMEDIATE")
        try:
            version = _version(db.conn)
            if version > len(steps):
                raise UserError(
                    f"{file} was written by a newer edge-app (its format is {version}, this one knows "
                    f"{len(steps)}); update edge-app, or move the file away."
                )
            if version < len(steps):
                steps[version](db)
                db.execute(f"PRAGMA user_version = {version + 1}")
            db.execute("COMMIT")
        except BaseException:
            if db.conn.in_transaction:
                db.execute("ROLLBACK")
            raise
        if version == len(steps):
            return


def is_current(connection: sqlite3.Connection) -> bool:
    """Whether a database has the newest version."""
    return _version(connection) == len(MIGRATIONS)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
