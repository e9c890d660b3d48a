"""The count of questions that are declined as another language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality.question_languages import main


def rows(file: Path, *lines: dict[str, str]) -> str:
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return str(file)


def test_no_bundled_english_question_is_declined(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert line["questions"] > 5000
    assert line["declined"] == []


def test_questions_are_counted_once_by_file_and_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    german = {"question": "Was ist auf diesem Bild zu sehen?", "language": "de"}
    english = {"question": "What is this?"}
    files = [
        rows(tmp_path / "a.jsonl", english, english, german),
        rows(tmp_path / "b.jsonl", english, {"question": "Wie viele Personen sind auf dem Foto?"}),
    ]
    assert main(files) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed[1:6]] == [
        ["a.jsonl", "de", "1", "1"],
        ["a.jsonl", "en", "1", "0"],
        ["b.jsonl", "en", "2", "1"],
        ["all", "de", "1", "1"],
        ["all", "en", "2", "1"],
    ]
    assert printed[6:] == ["declined: Wie viele Personen sind auf dem Foto?"]


@pytest.mark.parametrize("text", ["", "[1]", "not JSON", '{"text": "What is this?"}'])
def test_a_file_without_questions_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    assert main([str(tmp_path / "a.jsonl")]) == 1
    assert str(tmp_path / "a.jsonl") in capsys.readouterr().err
