"""Answers about pages are exact or wrong, and a decline is right only where the page has no answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality.pages.unseen_pages import PageShare, first_images, judged, main, shares, table
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.evaluation.rows import EvaluationRow

ROW = EvaluationRow("pages", "1.jpg", Path("1.jpg"), "What is the total?", "USD 9.90", "field")
ABSENT = replace(ROW, question="What is the tax?", answer="Not on the page.", type="absent")


def answer(text: str, declined: bool = False) -> Answer:
    return Answer(
        text=text,
        adapter="documents",
        place="local",
        mode="fast",
        confidence=None if declined else 0.5,
        reason="local",
        model="m",
        stop_reason="stop",
        tokens=TokenCounts(),
        timings=Timing(),
        tokens_per_second=None,
        session=None,
        declined=declined,
    )


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("USD 9.90", True),
        ("usd9.90", True),
        ("USD - 9.90", True),
        ("9.90", False),
        ("-9.90", False),
        ("", False),
    ],
)
def test_an_answer_is_right_when_it_is_the_whole_value(text: str, right: bool) -> None:
    assert judged(ROW, answer(text), "documents").right is right


def test_a_decline_is_right_only_where_the_page_has_no_answer() -> None:
    decline = answer("Not on the page.", declined=True)

    assert judged(ABSENT, decline, "documents").right
    assert not judged(ROW, decline, "documents").right
    assert not judged(ABSENT, answer("9.90"), "documents").right


def test_shares_are_of_each_set_and_adapter_and_leave_absent_ones_out_of_the_sum() -> None:
    asked = [
        judged(ROW, answer("USD 9.90"), "documents"),
        judged(replace(ROW, type="table"), answer("Not on the page.", declined=True), "documents"),
        judged(ABSENT, answer("Not on the page.", declined=True), "documents"),
        judged(ROW, answer("It is 9.90."), "none"),
    ]

    made = shares(asked)

    assert PageShare("pages", "answerable", "documents", 2, 1, 1) in made
    assert PageShare("pages", "absent", "documents", 1, 1, 1) in made
    assert PageShare("pages", "answerable", "none", 1, 0, 0) in made
    assert len(table(asked).splitlines()) == 1 + len(made)


def test_pages_are_counted_in_each_set() -> None:
    other = replace(ROW, image="2.jpg")
    rows = [ROW, ABSENT, other, replace(ROW, set="receipts", image="3.jpg")]

    assert first_images(rows, 1) == [ROW, ABSENT, rows[3]]
    assert first_images(rows, None) == rows


def test_a_file_without_rows_of_the_split_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"image": "1.jpg", "question": "q", "answer": "a", "type": "field", "split": "train"}
    file.write_text(json.dumps(row) + "\n")

    assert main([str(file)]) != 0
    assert "split" in capsys.readouterr().err
