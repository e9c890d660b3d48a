"""The tables that rows are written to: CSV, JSON lines, Parquet and SQLite files, by the suffix of their name.

All but SQLite are written whole under a temporary name that is renamed, so that nobody ever sees half of
one. That happens after each row while the table is small, and at least every tenth of the time when it has grown.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from edge_app.extract.rows import AFTER, BEFORE, CONFIDENCE, PageRow, columns
from edge_app.extract.tables.csv_text import BOM, csv_line
from edge_app.schemas.fields import Field, FieldKind
from models.core.errors import UserError
from models.core.files import write_document

SUFFIXES = (".csv", ".jsonl", ".db", ".parquet")

HASH, PATH = "sha256", "path"
"""Further columns of an SQLite table: the file's hash, which is its key together with the page, and its whole path."""

BUSY_SHARE = 0.1
"""Largest share of the time that writing takes before the end."""


class TableFile(ABC):
    """A table on disk. Use it once: `add` each row in its order, then `close`."""

    @abstractmethod
    def add(self, row: PageRow) -> None:
        """Writes a row, now or soon. Raises UserError when the disk refuses."""

    @abstractmethod
    def replace(self, number: int, row: PageRow) -> None:
        """Takes this row in the place of an earlier one. number: from 0, in the order of `add`."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is not written yet. Raises UserError when the disk refuses."""


class WholeFile(TableFile):
    """A table that is written whole, again and again."""

    def __init__(self, file: Path, fields: Sequence[Field]) -> None:
        """Raises UserError for a file that holds something else, and for a folder that cannot be written to."""
        self._file = file
        self._names = tuple(field.name for field in fields)
        self._rows: list[PageRow] = []
        self._next = 0.0
        self._unwritten = True
        if file.is_dir():
            raise UserError(f"{file} is a folder; give the name of a file in it.")
        if not file.absolute().parent.is_dir():
            raise UserError(f"There is no folder {file.parent} to write {file.name} to; make it first.")
        if file.exists() and file.stat().st_size and not self.is_own(file):
            raise UserError(f"{file} is there already and has other columns; choose another name.")

    @abstractmethod
    def is_own(self, file: Path) -> bool:
        """Whether the file is such a table with the same columns, so that it may be replaced."""

    @abstractmethod
    def content(self, rows: Sequence[PageRow]) -> bytes:
        """The whole file."""

    def add(self, row: PageRow) -> None:
        self._rows.append(row)
        self._unwritten = True
        started = time.monotonic()
        if started >= self._next:
            self._write()
            ended = time.monotonic()
            self._next = ended + (ended - started) / BUSY_SHARE

    def replace(self, number: int, row: PageRow) -> None:
        self._rows[number] = row
        self._unwritten = True

    def close(self) -> None:
        if self._unwritten:
            self._write()

    def _write(self) -> None:
        write_document(self._file, self.content(self._rows))
        self._unwritten = False


class CsvFile(WholeFile):
    """UTF-8. bom: begin with a byte order mark, by which Excel knows that."""

    def __init__(self, file: Path, fields: Sequence[Field], *, bom: bool) -> None:
        self._start = (BOM if bom else "") + csv_line(columns([field.name for field in fields]))
        super().__init__(file, fields)

    def is_own(self, file: Path) -> bool:
        return _first_line(file).lstrip(BOM).rstrip("\r\n") == self._start.lstrip(BOM).rstrip("\n")

    def content(self, rows: Sequence[PageRow]) -> bytes:
        lines = [csv_line(tuple(row.record(self._names).values())) for row in rows]
        return "".join([self._start, *lines]).encode("utf-8", "replace")


class JsonLinesFile(WholeFile):
    """An object a row, with null for what is empty."""

    def is_own(self, file: Path) -> bool:
        try:
            first = json.loads(_first_line(file))
        except (ValueError, RecursionError):
            return False
        return isinstance(first, dict) and tuple(first) == columns(self._names)

    def content(self, rows: Sequence[PageRow]) -> bytes:
        lines = [json.dumps(row.record(self._names), ensure_ascii=False) + "\n" for row in rows]
        return "".join(lines).encode("utf-8", "replace")


def column_kinds(fields: Sequence[Field]) -> dict[str, FieldKind]:
    """The kind of each column, in their order."""
    own: dict[str, FieldKind] = {field.name: field.kind for field in fields}
    sure: dict[str, FieldKind] = {name + CONFIDENCE: "number" for name in own}
    fixed: dict[str, FieldKind] = dict.fromkeys((*BEFORE, *AFTER), "text")
    kinds: dict[str, FieldKind] = {**fixed, "page": "integer", "declined": "boolean", **own, **sure}
    return {name: kinds[name] for name in columns(tuple(own))}


def table_file(file: Path, fields: Sequence[Field], *, bom: bool = False) -> TableFile:
    """The table of a file, by its suffix. Raises UserError, for an unknown suffix as well."""
    suffix = file.suffix.lower()
    if suffix == ".csv":
        return CsvFile(file, fields, bom=bom)
    if suffix == ".jsonl":
        return JsonLinesFile(file, fields)
    if suffix == ".parquet":
        from edge_app.extract.tables.parquet_file import ParquetFile

        return ParquetFile(file, fields)
    if suffix == ".db":
        from edge_app.extract.tables.sqlite_table import SqliteTable

        return SqliteTable(file, fields)
    raise UserError(f"{file.name} has no suffix of a table; give one of {', '.join(SUFFIXES)}.")


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.readline(1_000_000).decode("utf-8", "replace")
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from error
