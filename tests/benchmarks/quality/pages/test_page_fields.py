"""The values of pages are compared field by field, and the confidences are ranked by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.pages.page_fields import (
    FOUR_FIELDS,
    ReferencePage,
    judged,
    main,
    read_page_rows,
    scores,
    table,
)
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.schemas.answer_schema import schema_of_fields
from edge_app.schemas.fields import FieldValue, parse_fields
from models.core.errors import UserError

SCHEMA = schema_of_fields(parse_fields(FOUR_FIELDS))
ROW = ReferencePage(
    Path("page.jpg"), {"company": "A & B Co.", "date": "14/03/2018", "address": "1 High St", "total": "9.90"}
)
RIGHT = {"company": "a&b co", "date": "2018-03-14", "address": "1 HIGH ST.", "total": 9.9}


def answer(values: dict[str, Any], confidence: float = 0.5) -> Answer:
    return Answer(
        text=json.dumps(values),
        adapter="receipts",
        place="local",
        mode="auto",
        confidence=confidence,
        reason="local",
        model="m",
        stop_reason="stop",
        tokens=TokenCounts(),
        timings=Timing(),
        tokens_per_second=None,
        session=None,
        fields=tuple(FieldValue(name, value, -1.0, confidence) for name, value in values.items()),
    )


def test_each_value_is_compared_by_the_rule_of_its_field() -> None:
    page = judged(ROW, answer(RIGHT | {"total": 8.9, "address": None}), SCHEMA)
    assert page.valid
    assert page.right == {"company": True, "date": True, "address": False, "total": False}
    assert page.value["address"] is None


def test_an_answer_with_other_keys_has_no_right_value() -> None:
    page = judged(ROW, answer({"company": "a&b co"}), SCHEMA)
    assert not page.valid
    assert not any(page.right.values())


def test_all_fields_count_when_each_is_right_and_the_least_sure_value_ranks_them() -> None:
    pages = [
        judged(ROW, answer(RIGHT, 0.9), SCHEMA),
        judged(ROW, answer(RIGHT | {"date": None}, 0.3), SCHEMA),
    ]
    by_name = {score.name: score for score in scores(pages)}
    assert (by_name["date"].right, by_name["date"].empty, by_name["date"].auroc) == (1, 1, 1.0)
    assert (by_name["company"].right, by_name["company"].auroc) == (2, None)
    assert (by_name["all of them"].right, by_name["all of them"].auroc) == (1, 1.0)
    assert "valid JSON with the fields: 100.0%" in table(pages)


def test_rows_of_another_split_are_left_out_and_one_without_a_field_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    whole = {"image": "a.png", "split": "val", "company": "A", "total": "1"}
    file.write_text(f"{json.dumps(whole)}\n{json.dumps(whole | {'split': 'train'})}\n")
    assert read_page_rows(file, ["company", "total"], "val") == [
        ReferencePage(tmp_path / "a.png", {"company": "A", "total": "1"})
    ]
    with pytest.raises(UserError, match="'date'"):
        read_page_rows(file, ["date"], "val")


def test_a_file_without_rows_of_the_split_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("")
    assert main([str(file)]) == 1
    assert "no rows of the split 'val'" in capsys.readouterr().err
