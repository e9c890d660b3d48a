"""The measurement of second images: its cases, and what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality.second_photo import WORDINGS, Outcome, as_table, cases, lines, main
from edge_app.evaluation.rows import EvaluationRow
from tests.edge_app.conftest import png


def row(number: int, name: str = "photos") -> EvaluationRow:
    return EvaluationRow(name, f"{number}.png", Path(f"{number}.png"), "What?", "cat", "main_object")


def test_every_pair_has_two_photos_and_every_other_kind_comes_before_and_after_one() -> None:
    made = list(cases([row(n) for n in range(4)], [row(9, "receipts")], pairs=2))
    second = [case for case in made if case.group.startswith("second photo")]
    assert len(second) == 2 * len(WORDINGS)
    assert all(case.steps[0].image != case.steps[1].image for case in second)
    assert all(case.alone == case.steps[1:] for case in second)
    mixed = [case.group for case in made if "receipts" in case.group]
    assert mixed == ["receipts after a photo", "photo after receipts"]
    back = next(case for case in made if case.group.endswith("the first photo"))
    assert back.steps[-1].about == back.steps[0].about


def test_the_worst_group_is_first_and_unknown_answers_are_not_counted() -> None:
    good = Outcome("good", copied=False, as_alone=True, right=True, right_alone=True)
    bad = Outcome("bad", copied=True, as_alone=False, right=None, right_alone=None)
    found = lines([good, good, bad])
    assert [(line.group, line.of, line.copied, line.right) for line in found] == [
        ("bad", 1, 1, None),
        ("good", 2, 0, 2),
    ]
    assert as_table(found).splitlines()[1].split() == ["bad", "1", "1", "0", "-", "-"]


def test_a_file_without_rows_of_the_split_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    fields = {"image": "a.png", "question": "?", "answer": "cat", "type": "main_object", "split": "train"}
    (tmp_path / "photos.jsonl").write_text(json.dumps(fields))
    assert main([str(tmp_path / "photos.jsonl")]) == 1
    assert "no rows of the split 'val'" in capsys.readouterr().err
