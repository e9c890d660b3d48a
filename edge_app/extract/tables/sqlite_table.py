"""The table as an SQLite file, written row by row with sqlite-utils: a row for each file's content and page."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.extract.rows import PageRow
from edge_app.extract.tables.table_files import HASH, PATH, TableFile, column_kinds
from edge_app.images.image_paths import exists
from edge_app.schemas.fields import Field
from edge_app.storage.database import BUSY_SECONDS, said, storable
from models.core.errors import UserError

if TYPE_CHECKING:
    from sqlite_utils.db import Table

TABLE = "pages"
KEY = (HASH, "page")

_TYPES = {"text": str, "date": str, "number": float, "integer": int, "boolean": int}


class SqliteTable(TableFile):
    """The table "pages", which is made when it is missing and gains columns that it lacks.

    Its key is the file's sha256 with the page, so that a file that was renamed, or that is there twice, has one row. By
    its whole path a file that has changed is known again, and loses the row of its former content.
    """

    def __init__(self, file: Path, fields: Sequence[Field]) -> None:
        """Raises UserError for a file that is no database, and for a table "pages" of something else."""
        from sqlite_utils import Database

        self._file = file
        self._names = tuple(field.name for field in fields)
        if not file.absolute().parent.is_dir():
            raise UserError(f"There is no folder {file.parent} to write {file.name} to; make it first.")
        with self._errors():
            connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
            self._db = Database(connection, execute_plugins=False)
            table = self._table()
            if table.exists():
                if tuple(table.pks) != KEY:
                    self._db.close()
                    raise UserError(f"{file} has a table {TABLE!r} of something else; choose another file.")
                self._add_missing(table, fields)
            else:
                kinds = {name: _TYPES[kind] for name, kind in column_kinds(fields).items()}
                table.create({**kinds, HASH: str, PATH: str}, pk=KEY)

    def add(self, row: PageRow) -> None:
        """Commits the row, in the place of those that the same file had with another content.

        A file that cannot be read has a key of its own, made of its name.
        """
        content = {
            name: storable(value) if isinstance(value, str) else value
            for name, value in row.record(self._names).items()
        }
        place = Path(row.file)
        path = storable(str(place.absolute())) if exists(place) else None
        unread = storable(f"unread {row.file}")
        digest = row.digest or unread
        with self._errors():
            self._db.execute(
                f"DELETE FROM {TABLE} WHERE {HASH} != ? AND ({PATH} = ? OR {HASH} = ?)",
                [digest, path, unread],
            )
            self._table().upsert({**content, HASH: digest, PATH: path}, pk=KEY)

    def replace(self, number: int, row: PageRow) -> None:
        """As `add`, since a row is found by its key."""
        del number
        self.add(row)

    def close(self) -> None:
        with self._errors():
            self._db.close()

    def _table(self) -> Table:
        return self._db.table(TABLE)

    @staticmethod
    def _add_missing(table: Table, fields: Sequence[Field]) -> None:
        known = {name.lower() for name in table.columns_dict}
        for name, kind in {**column_kinds(fields), PATH: "text"}.items():
            if name.lower() not in known:
                table.add_column(name, _TYPES[kind])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if self._file.exists() and not self._file.stat().st_size:
                self._file.unlink()  # of a table that could not even be begun
            raise UserError(f"Cannot write the table to {self._file}: {said(error, self._file)}.") from error
