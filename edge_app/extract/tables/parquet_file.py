"""The table as a Parquet file, in which each column has the type of its field. Needs pyarrow (the extra [parquet])."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path

from edge_app.extract.rows import Cell, PageRow, columns
from edge_app.extract.tables.table_files import WholeFile, column_kinds
from edge_app.schemas.fields import Field, FieldKind
from edge_app.storage.database import storable
from models.core.errors import UserError

NEEDS_PYARROW = "A Parquet file needs pyarrow: run pip install -e '.[parquet]'."

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class ParquetFile(WholeFile):
    """Texts are strings, dates date32, numbers float64, integers int64, and booleans booleans."""

    def __init__(self, file: Path, fields: Sequence[Field]) -> None:
        if find_spec("pyarrow") is None:
            raise UserError(NEEDS_PYARROW)
        self._kinds = column_kinds(fields)
        super().__init__(file, fields)

    def is_own(self, file: Path) -> bool:
        import pyarrow.parquet

        try:
            return tuple(pyarrow.parquet.read_schema(file).names) == columns(self._names)
        except (OSError, ValueError):  # pyarrow's errors are subclasses of these
            return False

    def content(self, rows: Sequence[PageRow]) -> bytes:
        import pyarrow.parquet

        types = {
            "text": pyarrow.string(),
            "date": pyarrow.date32(),
            "number": pyarrow.float64(),
            "integer": pyarrow.int64(),
            "boolean": pyarrow.bool_(),
        }
        records = [row.record(self._names) for row in rows]
        arrays = {
            name: pyarrow.array([typed(kind, record[name]) for record in records], types[kind])
            for name, kind in self._kinds.items()
        }
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(arrays), buffer)
        return buffer.getvalue()

    def add(self, row: PageRow) -> None:
        """Keeps the row for `close`, since the whole file is computed again for each."""
        self._rows.append(row)
        self._unwritten = True


def typed(kind: FieldKind, value: Cell) -> Cell | date:
    """A cell as the type of its column holds it.

    None for a value that it cannot hold: a date that no calendar has, an integer of more than 64 bits.
    """
    if kind == "text" and value is not None:
        return storable(value) if isinstance(value, str) else json.dumps(value)
    if kind == "date" and isinstance(value, str):
        return _day(value)
    if isinstance(value, str) or (kind == "boolean") != isinstance(value, bool):
        return None
    if kind == "integer":
        return value if isinstance(value, int) and _SMALLEST <= value <= _LARGEST else None
    return value if value is not None and math.isfinite(value) else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
