"""`edge-app extract` as scripts see it: rows, exit codes, going on, and what is left alone."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from base64 import b64encode
from datetime import date
from pathlib import Path

import PIL.Image
import pytest

from adapters.training.data import NOT_ON_THE_PAGE, read_training_rows
from edge_app.extract.sources import jobs_of
from edge_app.extract.store import ExtractStore
from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.conftest import picture
from tests.edge_app.fakes import FakeEngine
from tests.models.documents.made_pdf import Sheet, pdf_file

HEADING = ["file", "page", "answer", "answer_confidence", "adapter", "place", "declined", "error"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with three pages, of which one is in a folder of its own, and a text."""
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "more/c.png")):
        picture(f"#{number}0ff00", "#ffffff").save(folder / name)
    (folder / "notes.txt").write_text("no page")
    return folder


def rows(outcome: Outcome) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(outcome.stdout)))


pytestmark = pytest.mark.usefixtures("engine")


def extract(run: Run, *arguments: str) -> Outcome:
    return run("extract", "--adapter", "none", *arguments)


def test_every_page_of_a_folder_has_a_row(run: Run, engine: FakeEngine, scans: Path) -> None:
    outcome = extract(run, str(scans), "--question", "What is it?")
    assert outcome.code == 0
    assert outcome.stdout.splitlines()[0].split(",") == HEADING
    assert [(row["file"], row["page"], row["answer"], row["place"]) for row in rows(outcome)] == [
        (str(scans / name), "1", "A cat.", "local") for name in ("a.png", "b.png", "more/c.png")
    ]
    assert {call.messages[-1].text for call in engine.calls} == {"What is it?"}


def test_the_same_command_answers_nothing_twice(run: Run, engine: FakeEngine, scans: Path) -> None:
    first = extract(run, str(scans), "--question", "What is it?")
    assert len(engine.calls) == 3
    assert extract(run, str(scans), "--question", "What is it?").stdout == first.stdout
    assert len(engine.calls) == 3
    extract(run, str(scans), "--question", "Where is it?")
    assert len(engine.calls) == 6
    extract(run, str(scans), "--question", "What is it?", "--again")
    assert len(engine.calls) == 9


def test_a_changed_file_is_done_again_and_a_moved_one_is_not(
    run: Run, engine: FakeEngine, scans: Path
) -> None:
    extract(run, str(scans), "--question", "What is it?")
    picture("#123456", "#ffffff").save(scans / "a.png")
    (scans / "b.png").rename(scans / "d.png")
    outcome = extract(run, str(scans), "--question", "What is it?")
    assert len(engine.calls) == 4
    assert [Path(row["file"]).name for row in rows(outcome)] == ["a.png", "d.png", "c.png"]


def test_a_damaged_file_is_a_row_with_its_error_and_the_run_goes_on(run: Run, scans: Path) -> None:
    (scans / "a.png").write_bytes(b"no image")
    (scans / "b.png").write_bytes(b"")
    outcome = extract(run, str(scans), str(scans / "missing.png"), "--question", "What is it?")
    assert outcome.code == 0
    errors = {Path(row["file"]).name: row["error"] for row in rows(outcome)}
    assert "not an image" in errors["a.png"]
    assert "empty" in errors["b.png"]
    assert errors["c.png"] == ""
    assert "no file" in errors["missing.png"]
    assert "a.png" in outcome.stderr


def test_the_exit_code_is_1_when_no_page_could_be_read(run: Run, tmp_path: Path) -> None:
    outcome = extract(run, str(tmp_path / "missing.png"), "--question", "What is it?")
    assert (outcome.code, len(rows(outcome))) == (1, 1)
    (tmp_path / "empty").mkdir()
    outcome = extract(run, str(tmp_path / "empty"), "--question", "What is it?")
    assert (outcome.code, outcome.stdout) == (1, "")


def test_wrong_usage_is_exit_code_2(run: Run, engine: FakeEngine, scans: Path) -> None:
    assert extract(run, str(scans)).code == 2
    assert extract(run, str(scans), "--question", "What?", "--out", "table.xlsx").code == 2
    assert not engine.calls


def test_a_decline_is_an_empty_value(run: Run, engine: FakeEngine, scans: Path) -> None:
    engine.words = ("I ", "do ", "not ", "know.")
    outcome = extract(run, str(scans / "a.png"), "--question", "Who made it?")
    assert [(row["answer"], row["declined"], row["answer_confidence"]) for row in rows(outcome)] == [
        ("", "true", "")
    ]


def test_out_writes_a_file_and_nothing_to_stdout(run: Run, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.jsonl"
    outcome = extract(run, str(scans), "--question", "What is it?", "--out", str(out))
    assert (outcome.code, outcome.stdout) == (0, "")
    assert [json.loads(line)["answer"] for line in out.read_text().splitlines()] == ["A cat."] * 3


def test_a_glob_that_the_shell_left_alone_names_its_matches(run: Run, scans: Path) -> None:
    outcome = extract(run, str(scans / "*.png"), str(scans / "a.png"), "--question", "What is it?")
    assert [Path(row["file"]).name for row in rows(outcome)] == ["a.png", "b.png"]


def test_an_interrupted_run_goes_on_where_it_was(
    run: Run, engine: FakeEngine, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.csv"

    def interrupt(number: int) -> None:
        if len(engine.calls) == 2 and number == 0:
            raise KeyboardInterrupt

    engine.before_token = interrupt
    arguments = (str(scans), "--question", "What is it?", "--out", str(out))
    stopped = extract(run, *arguments)
    assert stopped.code == 130
    assert len(out.read_text().splitlines()) == 2
    engine.before_token = lambda _: None
    assert extract(run, *arguments).code == 0
    assert len(out.read_text().splitlines()) == 4
    assert len(engine.calls) == 4


def test_each_page_of_a_pdf_has_a_row_and_its_text_is_not_read_again(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    lines = [(60, 700 - 30 * line, f"Line {line} of the first page") for line in range(8)]
    document = tmp_path / "bill.pdf"
    document.write_bytes(pdf_file(Sheet(lines), Sheet([(60, 700, "second")])))
    outcome = extract(run, str(document), "--question", "What is it?")
    assert [(row["file"], row["page"]) for row in rows(outcome)] == [
        (str(document), "1"),
        (str(document), "2"),
    ]
    assert "Line 0 of the first page" in " ".join(engine.calls[0].texts.values())
    one = extract(run, f"{document}#2", "--question", "What is it?")
    assert [(row["file"], row["page"]) for row in rows(one)] == [(str(document), "2")]
    assert len(engine.calls) == 2


def test_standard_input_is_a_source(run: Run, tmp_path: Path) -> None:
    picture("#10ff00", "#ffffff").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    outcome = run("extract", "--adapter", "none", "-", "--question", "What is it?", stdin=data)
    assert [(row["file"], row["answer"]) for row in rows(outcome)] == [("standard input", "A cat.")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_and_a_data_url_are_sources(run: Run, tmp_path: Path) -> None:
    picture("#10ff00", "#ffffff").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data))
    writer.start()
    url = f"data:image/png;base64,{b64encode(data).decode()}"
    outcome = extract(run, str(tmp_path / "pipe"), url, "--question", "What is it?")
    writer.join()
    assert [(row["file"], row["answer"]) for row in rows(outcome)] == [
        ("the pipe", "A cat."),
        ("data:image/png", "A cat."),
    ]


def test_an_address_on_the_web_is_not_fetched(run: Run, engine: FakeEngine) -> None:
    outcome = extract(run, "https://example.com/bill.pdf", "--question", "What is it?")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "https://example.com/bill.pdf" in outcome.stderr
    assert "download it first" in outcome.stderr
    assert not engine.calls


def test_a_cut_photo_is_read_as_far_as_it_goes_and_said(run: Run, tmp_path: Path) -> None:
    whole = io.BytesIO()
    PIL.Image.effect_noise((640, 480), 90).convert("RGB").save(whole, "JPEG")
    file = tmp_path / "cut.jpg"
    file.write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 3])
    outcome = extract(run, str(file), "--question", "What is it?")
    assert (rows(outcome)[0]["answer"], rows(outcome)[0]["error"]) == ("A cat.", "")
    assert "cut.jpg: cut off" in outcome.stderr


def test_a_field_with_the_name_of_a_column_is_exit_code_2(run: Run, engine: FakeEngine, scans: Path) -> None:
    for fields in ("file", "company, error", "total, total_confidence", "Adapter", "total:money", "a, a", ""):
        outcome = extract(run, str(scans), "--fields", fields)
        assert (outcome.code, outcome.stdout) == (2, ""), fields
    assert extract(run, str(scans), "--fields", "sha256", "--out", "t.db").code == 2
    assert extract(run, str(scans), "--fields", "total", "--question", "What?").code == 2
    assert not engine.calls


def test_a_review_needs_a_terminal(run: Run, engine: FakeEngine, scans: Path) -> None:
    assert extract(run, str(scans), "--question", "What?", "--review").code == 2
    assert not engine.calls


def test_corrections_count_in_every_later_run_and_are_training_rows(
    run: Run, engine: FakeEngine, scans: Path, tmp_path: Path
) -> None:
    first = rows(extract(run, str(scans), "--question", "What is it?"))
    store = ExtractStore.open()
    (job,) = jobs_of(scans / "a.png")
    assert job.digest is not None
    store.review(job.digest, 1, {"question What is it?": "A dog."})
    store.close()
    out = tmp_path / "rows.jsonl"
    again = extract(run, str(scans), "--question", "What is it?", "--again", "--corrections", str(out))
    assert [row["answer"] for row in rows(again)] == ["A dog.", "A cat.", "A cat."]
    assert rows(again)[0]["answer_confidence"] == "1"
    assert rows(again)[1:] == first[1:]
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row == {"image": "scans/a.png", "question": "What is it?", "answer": "A dog.", "type": "answer"}
    assert len(engine.calls) == 6


def test_training_takes_the_corrections_of_reviewed_pages(
    run: Run, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.words = ('{"shop": "Corner", "due": null}',)
    folder, out = tmp_path / "pages", tmp_path / "fixed.jsonl"
    folder.mkdir()
    store = ExtractStore.open()
    for number in range(10):
        picture(f"#{number}0ff00", "#ffffff").save(folder / f"{number}.png")
        (job,) = jobs_of(folder / f"{number}.png")
        assert job.digest is not None
        store.review(job.digest, 1, {"shop:text": f"Shop {number}", "due:date": None})
    store.close()
    said = extract(run, str(folder), "--fields", "shop, due:date", "--corrections", str(out)).stderr
    assert "fixed.jsonl: 10 reviewed pages" in said
    rows = read_training_rows(out)
    assert {(row.type, row.question) for row in rows} == {
        ("shop", "What is the shop?"),
        ("due", "What is the due?"),
    }
    answers = {row.answer for row in rows if row.type == "shop"}
    assert answers == {f"Shop {number}" for number in range(10)}
    assert {row.answer for row in rows if row.type == "due"} == {NOT_ON_THE_PAGE}
    assert {row.split for row in rows} == {"train", "val"}


def test_fields_are_columns_with_their_confidences(run: Run, engine: FakeEngine, scans: Path) -> None:
    engine.words = ('{"company": "Shop, Ltd"', ', "total": 9.5', ', "due": null}')
    outcome = extract(run, str(scans / "a.png"), "--fields", "company, total:number, due:date")
    assert outcome.stdout.splitlines()[0] == (
        "file,page,company,total,due,company_confidence,total_confidence,due_confidence,adapter,place,declined,error"
    )
    (row,) = rows(outcome)
    assert (row["company"], row["total"], row["due"], row["due_confidence"]) == ("Shop, Ltd", "9.5", "", "")
    assert 0 < float(row["total_confidence"]) <= 1
    assert (row["declined"], row["place"]) == ("false", "local")


def test_a_page_without_any_of_the_fields_counts_as_declined(
    run: Run, engine: FakeEngine, scans: Path
) -> None:
    engine.words = ('{"company": null}',)
    (row,) = rows(extract(run, str(scans / "a.png"), "--fields", "company"))
    assert (row["company"], row["declined"]) == ("", "true")


def test_a_parquet_table_goes_on_where_it_was(
    run: Run, engine: FakeEngine, scans: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    engine.words = ('{"total": 9.5, "due": "2024-01-31"}',)
    out = tmp_path / "table.parquet"

    def interrupt(number: int) -> None:
        if len(engine.calls) == 2 and number == 0:
            raise KeyboardInterrupt

    engine.before_token = interrupt
    arguments = (str(scans), "--fields", "total:number, due:date", "--out", str(out))
    assert extract(run, *arguments).code == 130
    assert parquet.read_table(out).num_rows == 1
    engine.before_token = lambda _: None
    for _ in range(2):
        assert extract(run, *arguments).code == 0
        assert parquet.read_table(out).column("total").to_pylist() == [9.5] * 3
    assert parquet.read_table(out).column("due").to_pylist() == [date(2024, 1, 31)] * 3
    assert len(engine.calls) == 4
