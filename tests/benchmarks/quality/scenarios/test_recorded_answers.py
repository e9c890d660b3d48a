"""Recorded answers of a cloud, and the expected costs where the file has none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.scenarios.recorded_answers import (
    RecordedAnswer,
    of_row,
    oracle,
    read_answers,
    write_answers,
)
from edge_app.evaluation.rows import EvaluationRow
from models.core.errors import UserError
from router.place_policy import Expected

ROW = EvaluationRow("pets", "a.png", Path("a.png"), "What is it?", "a cat", "main_object")
EXPECTED = Expected(0.9, 3.0, 900.0, 0.001)


def test_an_oracle_is_always_right_and_costs_what_is_expected(tmp_path: Path) -> None:
    file = tmp_path / "oracle.jsonl"
    write_answers(file, oracle([ROW]))
    assert of_row(read_answers(file), ROW, EXPECTED) == (True, EXPECTED)


def test_no_answer_is_known_to_be_right_out_of_scope() -> None:
    outside = replace(ROW, question="Who made it?", answer="", scope="out")
    assert oracle([ROW, outside]).keys() == {("a.png", "What is it?")}
    assert of_row({}, outside, EXPECTED) == (None, EXPECTED)
    right, cost = of_row({("a.png", "Who made it?"): RecordedAnswer("", seconds=1.0)}, outside, EXPECTED)
    assert (right, cost.seconds) == (None, 1.0)


def test_a_file_may_have_the_costs_of_its_answers(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    fields = {"image": "a.png", "question": "What is it?", "answer": "a dog", "seconds": 1.5, "money": 0.02}
    file.write_text(json.dumps(fields) + "\n\n")
    right, cost = of_row(read_answers(file), ROW, EXPECTED)
    assert not right
    assert cost == Expected(0.9, 1.5, 900.0, 0.02)


def test_a_predictions_file_of_another_model_will_do(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    fields = {"image": "a.png", "question": "What is it?", "answer": "Cat.", "timing_ms": {"total": 2500.0}}
    file.write_text(json.dumps(fields))
    assert read_answers(file) == {("a.png", "What is it?"): RecordedAnswer("Cat.", seconds=2.5)}


def test_a_row_without_an_answer_is_named() -> None:
    with pytest.raises(UserError, match=r"none for a\.png"):
        of_row({}, ROW, EXPECTED)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"image": "a.png"}',
        '{"image": "a", "question": "q", "answer": "x", "seconds": -1}',
        '{"image": "a", "question": "q", "answer": "x", "money": "much"}',
    ],
)
def test_what_is_no_answer_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"image": "a", "question": "q", "answer": "x"}\n' + line)
    with pytest.raises(UserError, match="line 2"):
        read_answers(file)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        read_answers(file)
    except UserError as error:
        assert "\n" not in str(error)
