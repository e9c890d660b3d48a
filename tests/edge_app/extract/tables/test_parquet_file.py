"""The table as a Parquet file: types, resuming, and what is said where pyarrow is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from edge_app.extract.rows import Cell, PageRow
from edge_app.extract.tables.table_files import table_file
from edge_app.schemas.fields import parse_fields
from models.core.errors import UserError

FIELDS = parse_fields("company, total:number, items:integer, day:date, paid:boolean")
NAMES = [field.name for field in FIELDS]


def row(name: str, *values: Cell, error: str | None = None) -> PageRow:
    cells = values or (None,) * len(FIELDS)
    sure = tuple(None if value is None else 0.5 for value in cells)
    return PageRow(name, 1, None if error else "0a", cells, sure, "receipts", "local", error=error)


def write(file: Path, *rows: PageRow) -> Path:
    table = table_file(file, FIELDS)
    for each in rows:
        table.add(each)
    table.close()
    return file


def read(file: Path) -> Any:
    return pytest.importorskip("pyarrow.parquet").read_table(file)


def column(file: Path, name: str) -> Sequence[Any]:
    values: Sequence[Any] = read(file).column(name).to_pylist()
    return values


@pytest.fixture
def out(tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    return tmp_path / "out.parquet"


def test_each_column_has_the_type_of_its_field(out: Path) -> None:
    write(out, row("a.png", "Shop", 9.5, 3, "2017-12-28", True), row("b.png", error="b.png is empty."))
    schema = read(out).schema
    sure = [f"{name}_confidence" for name in NAMES]
    assert schema.names == ["file", "page", *NAMES, *sure, "adapter", "place", "declined", "error"]
    types = ["string", "double", "int64", "date32[day]", "bool"]
    assert [str(schema.field(name).type) for name in NAMES] == types
    assert [str(schema.field(name).type) for name in ("page", "total_confidence", "declined", "error")] == [
        "int64", "double", "bool", "string",
    ]  # fmt: skip
    first, second = read(out).to_pylist()
    assert [first[name] for name in NAMES] == ["Shop", 9.5, 3, date(2017, 12, 28), True]
    assert [second[name] for name in NAMES] == [None] * 5
    assert (first["error"], second["error"], second["declined"]) == (None, "b.png is empty.", False)


def test_a_value_that_its_column_cannot_hold_is_empty(out: Path) -> None:
    write(out, row("bad\udcff.png", "\udcff", float("inf"), 2**70, "2017-02-30", None))
    assert [column(out, name) for name in NAMES] == [["?"], [None], [None], [None], [None]]
    assert column(out, "file") == ["bad?.png"]


def test_a_whole_number_is_a_number_and_another_value_of_a_text_is_json(out: Path) -> None:
    write(out, row("a.png", 5, 12, 4, None, None))
    assert (column(out, "company"), column(out, "total"), column(out, "items")) == (["5"], [12.0], [4])


def test_the_same_table_is_written_again_with_one_row_for_each_page(out: Path) -> None:
    write(out, row("a.png", "Shop", 9.5, 3, None, None))
    write(out, row("a.png", "Shop", 9.5, 3, None, None), row("b.png", "Other", 1.0, 1, None, None))
    assert column(out, "file") == ["a.png", "b.png"]
    assert [path.name for path in out.parent.iterdir() if path.is_file()] == [out.name]


def test_a_corrected_row_takes_the_place_of_the_first(out: Path) -> None:
    table = table_file(out, FIELDS)
    first = row("a.png", "Shop", 9.5, 3, "2017-12-28", True)
    table.add(first)
    table.replace(0, replace(first, values=("Shop", 9.9, 3, "2017-12-29", True)))
    table.close()
    assert (column(out, "total"), column(out, "day")) == ([9.9], [date(2017, 12, 29)])


def test_a_parquet_file_of_something_else_is_left_alone(out: Path) -> None:
    write(out, row("a.png"))
    before = out.read_bytes()
    with pytest.raises(UserError, match="other columns"):
        table_file(out, parse_fields("other"))
    assert out.read_bytes() == before
    out.write_bytes(b"notes")
    with pytest.raises(UserError, match="other columns"):
        table_file(out, FIELDS)


def test_without_pyarrow_one_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install .*\[parquet\]"):
        table_file(tmp_path / "out.parquet", FIELDS)
