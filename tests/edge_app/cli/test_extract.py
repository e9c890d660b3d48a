"""`edge-app extract` as scripts see it: rows, exit codes, going on, and what is left alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.conftest import picture
from tests.edge_app.fakes import FakeEngine

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
