"""Declines are recognised, and answers are not taken for declines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.confidence import declines
from router.confidence.declines import is_decline

LABELLED = [
    json.loads(line)
    for line in Path(declines.__file__).with_name("declines.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("row", LABELLED, ids=lambda row: row["text"] or "empty")
def test_the_labelled_texts_are_told_apart(row: dict[str, object]) -> None:
    assert is_decline(str(row["text"])) == row["declined"]


@pytest.mark.parametrize("text", ["I cannot tell that", "I CANNOT TELL THAT.", " **I cannot tell that**\n"])
def test_case_marks_and_spaces_do_not_matter(text: str) -> None:
    assert is_decline(text)
