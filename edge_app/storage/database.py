"""The app's one SQLite file, and the base class of every store that keeps tables in it.

The file is in WAL mode: several processes and connections read and write it at the same time, and a committed
transaction survives a killed process.

sqlite_utils is imported when the first database is opened. It imports pandas too where that is installed (as with
the extra [train]), which costs about half a second there.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import psutil

from edge_app.storage.migrations import migrate
from edge_app.system import paths
from models.core.errors import UserError

BUSY_SECONDS = 10.0
USER_CAUSED = (  # a full disk, a wrong permission, another process, a file that is no database
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_NOTADB",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)


class DatabaseFile:
    """One connection to the database.

    holds: what the subclass keeps there, for messages.

    Safe to use from several threads. Several processes may have the file open. Every method raises UserError when
    the disk is full or read-only, when the file is no database, and when it is locked for BUSY_SECONDS.
    """

    holds: ClassVar[str]

    def __init__(self, file: Path) -> None:
        """Opens or creates the file and applies the migrations that it lacks."""
        from sqlite_utils import Database

        self._file = file
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
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """The rows that a query selects, each by column name."""
        with self._lock, self._errors():
            return list(self._db.query(sql, list(values)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Takes the write lock before the first read, so that what is read cannot change until COMMIT."""
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
            raise UserError(f"Cannot use {self.holds} in {self._file}: {error}.") from error


def is_alive(process: int, started: float) -> bool:
    """Whether a process still runs.

    process: its number. started: when it began, in seconds since the epoch, because a later process may have the same
        number.
    """
    try:
        return bool(abs(psutil.Process(process).create_time() - started) < 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # a process of another user exists
        return True


def storable(text: str) -> str:
    """The text with a question mark for each surrogate, which UTF-8 cannot hold (from an argument or file name)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def moment() -> str:
    """The current time as ISO 8601 in UTC with microseconds, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
