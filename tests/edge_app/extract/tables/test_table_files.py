"""Tables on disk: CSV, JSON lines and SQLite."""

from __future__ import annotations

import json
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.extract.rows import PageRow
from edge_app.extract.tables.table_files import table_file
from edge_app.schemas.fields import Field
from models.core.errors import UserError

FIELDS = (Field("company"), Field("total", "number"))
ROWS = (
    PageRow("a.png", 1, "0a", ("Shop, Ltd", 9.5), (0.9, 0.75), "receipts", "local"),
    PageRow("b.png", 1, None, (None, None), (None, None), error="b.png is empty."),
    PageRow("c.pdf", 2, "0c", (None, None), (0.5, None), None, "local", declined=True),
)
HEADING = "file,page,company,total,company_confidence,total_confidence,adapter,place,declined,error\n"
LINES = (
    'a.png,1,"Shop, Ltd",9.5,0.9,0.75,receipts,local,false,\n',
    "b.png,1,,,,,,,false,b.png is empty.\n",
    "c.pdf,2,,,0.5,,,local,true,\n",
)


def written(file: Path, *rows: PageRow, bom: bool = False) -> Path:
    table = table_file(file, FIELDS, bom=bom)
    for row in rows:
        table.add(row)
    table.close()
    return file


def test_csv_has_a_heading_and_a_line_for_each_row(tmp_path: Path) -> None:
    text = written(tmp_path / "out.csv", *ROWS).read_text(encoding="utf-8")
    assert text == HEADING + "".join(LINES)
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


def test_csv_begins_with_a_byte_order_mark_when_asked(tmp_path: Path) -> None:
    assert written(tmp_path / "out.csv", bom=True).read_bytes() == b"\xef\xbb\xbf" + HEADING.encode()


def test_csv_is_complete_after_every_row(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    table = table_file(file, FIELDS)
    table.add(ROWS[0])
    assert file.read_text(encoding="utf-8") == HEADING + LINES[0]


def test_json_lines_have_null_for_what_is_empty(tmp_path: Path) -> None:
    lines = written(tmp_path / "out.jsonl", *ROWS).read_text(encoding="utf-8").splitlines()
    first, second, _ = map(json.loads, lines)
    assert ",".join(first) == HEADING.strip()
    assert (first["total"], first["declined"], first["error"]) == (9.5, False, None)
    assert (second["company"], second["error"]) == (None, "b.png is empty.")


def test_a_database_has_one_row_for_each_content_and_page(tmp_path: Path) -> None:
    file = written(tmp_path / "out.db", *ROWS)
    better = replace(ROWS[0], file="moved.png", values=("Other", 3.0))
    written(file, better, ROWS[2])
    with sqlite3.connect(file) as db:
        found = db.execute(
            "SELECT file, page, company, total, declined, sha256 FROM pages ORDER BY file"
        ).fetchall()
        names = [row[1] for row in db.execute("PRAGMA table_info(pages)")]
    assert found == [
        ("b.png", 1, None, None, 0, "unread b.png"),
        ("c.pdf", 2, None, None, 1, "0c"),
        ("moved.png", 1, "Other", 3.0, 0, "0a"),
    ]
    assert names == [*HEADING.strip().split(","), "sha256", "path"]


def test_a_database_forgets_an_error_when_the_file_can_be_read(tmp_path: Path) -> None:
    file = written(tmp_path / "out.db", ROWS[1])
    written(file, replace(ROWS[0], file="b.png"))
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT file, error FROM pages").fetchall() == [("b.png", None)]


def test_a_database_has_one_row_for_a_file_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out.db"
    for folder in ("january", "february"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        Path("a.png").touch()
        written(file, replace(ROWS[0], digest=folder))
    written(file, replace(ROWS[0], digest="changed"), replace(ROWS[0], digest="changed", page=2))
    with sqlite3.connect(file) as db:
        found = db.execute("SELECT sha256, page, path FROM pages ORDER BY sha256, page").fetchall()
    changed = str(tmp_path / "february" / "a.png")
    assert found == [
        ("changed", 1, changed),
        ("changed", 2, changed),
        ("january", 1, str(tmp_path / "january" / "a.png")),
    ]


def test_a_database_gains_the_columns_of_other_fields(tmp_path: Path) -> None:
    file = written(tmp_path / "out.db", ROWS[0])
    table = table_file(file, (Field("due", "date"),))
    table.add(PageRow("a.png", 1, "0a", ("2024-01-31",), (0.5,), None, "local"))
    table.close()
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT company, due, due_confidence FROM pages").fetchall() == [
            ("Shop, Ltd", "2024-01-31", 0.5)
        ]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.db"])
def test_a_file_of_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("my notes, which nobody else has\n" * 40)
    with pytest.raises(UserError, match=name):
        written(file, ROWS[0])
    assert file.read_text().startswith("my notes")


def test_a_database_with_another_table_of_that_name_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "out.db") as db:
        db.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY)")
    with pytest.raises(UserError, match="something else"):
        written(tmp_path / "out.db", ROWS[0])


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.db"])
def test_a_folder_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no folder"):
        written(tmp_path / "missing" / name)


def test_an_unknown_suffix_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.csv, \.jsonl, \.db"):
        written(tmp_path / "out.xlsx")


def test_a_table_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "out.csv"
    real.touch()
    real.chmod(0o640)
    link.symlink_to("real.csv")
    written(link, ROWS[0])
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == HEADING + LINES[0]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_new_table_is_as_readable_as_other_new_files(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    table = written(tmp_path / "out.csv", ROWS[0])
    assert stat.S_IMODE(table.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
