"""Opens the app's one SQLite file, for each store that keeps tables in it.

WAL mode: several processes and several connections read and write it at the same time; what was committed
survives a kill -9.

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


class DatabaseFile:
    """One connection. Safe to use from several threads; several processes may have the same file open.

    Everything raises UserError when the disk does not cooperate (full, read-only, busy for BUSY_SECONDS).
    holds: what a subclass keeps there, for the message.
    """

    holds: ClassVar[str]

    def __init__(self, file: Path) -> None:
        """Opens or creates it and brings it up to date."""
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
            raise UserError(f"Cannot use {self.holds} in {self._file}: {error}.") from error


def is_alive(process: int, started: float) -> bool:
    """Whether the very process is: its number may be another's by now. started: seconds since the epoch."""
    try:
        return bool(abs(psutil.Process(process).create_time() - started) < 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, or the system's: it is there
        return True


def storable(text: str) -> str:
    """What UTF-8 cannot hold (an argument or a file name in another encoding) as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def moment() -> str:
    """Now: ISO 8601, UTC, to the microsecond; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
