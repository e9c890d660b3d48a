"""The app's one SQLite file, and the base class of every store that keeps tables in it.

The file is in WAL mode: several processes and connections read and write it at the same time, and a committed
transaction survives a killed process.

sqlite_utils is imported when the first database is opened. It imports pandas too where that is installed (as with
the extra [train]), which costs about half a second there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

import psutil

from edge_app.storage.migrations import is_current, migrate
from edge_app.system import paths
from models.core.errors import UserError

BUSY_SECONDS = 10.0
NEEDED_BYTES = 1 << 16
"""WAL mode needs 32 kB beside the database to open it."""
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

    @classmethod
    def _reading(cls, file: Path) -> Self:
        """A store whose file and folder are only read, for a disk or folder that may not be written.

        A file that is not there is an empty store. One of an older version is copied into memory and migrated there.
        Raises UserError. Subclasses call it in `open_to_read`.
        """
        from sqlite_utils import Database

        store = cls.__new__(cls)
        store._file = file
        store._lock = threading.RLock()
        with store._errors():
            connection = _read_only(file) if file.exists() else _in_memory()
            if file.exists() and not is_current(connection):
                content = bytearray(connection.serialize())
                content[18:20] = b"\x01\x01"  # no WAL mode, which memory does not have
                connection.close()
                connection = _in_memory()
                connection.deserialize(bytes(content))
            try:
                store._db = Database(connection, execute_plugins=False)
                migrate(store._db, file)
            except BaseException:
                connection.close()
                raise
        return store

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
            raise UserError(f"Cannot use {self.holds} in {self._file}: {said(error, self._file)}.") from error


def said(error: sqlite3.DatabaseError, file: Path) -> str:
    """What went wrong with a database, as a part of a sentence. SQLite calls a full disk an I/O error in places."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or (
        name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and is_full(file.parent)
    ):
        return "the disk is full; make room there"
    return str(error)


def is_full(folder: Path) -> bool:
    """Whether a folder's disk has less room than it takes to open a database."""
    try:
        return shutil.disk_usage(folder).free < NEEDED_BYTES
    except OSError:
        return False


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _read_only(file: Path) -> sqlite3.Connection:
    """A connection that writes nothing: not even the files that WAL mode needs beside the database, which another
    process may have made already."""
    address = f"file:{quote(str(file.absolute()))}?mode=ro"
    for also in ("", "&immutable=1"):
        connection = sqlite3.connect(address + also, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            if also:
                raise
    raise AssertionError("the second try returns or raises")


def may_write(file: Path) -> bool:
    """Whether a database can be changed, which also needs files beside it."""
    return os.access(file.parent, os.W_OK) and (not file.exists() or os.access(file, os.W_OK))


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
