"""The rule and the border of the adapter for any page of text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.question_encoder.scope import QuestionVectors
from models.training.scope.pages import (
    BLOCK,
    NOT_ON_PAGES,
    ON_PAGES,
    REWORDED,
    SHARE,
    adjustment,
    labelled_questions,
)


def test_what_pages_answer_is_in_scope_and_what_no_passage_answers_is_not(tmp_path: Path) -> None:
    files = [tmp_path / "rows.jsonl", tmp_path / "wordings.jsonl"]
    for file in files:
        lines = [json.dumps({"question": f"What is the {file.stem} {number}?"}) for number in range(9)]
        file.write_text("\n".join(lines), encoding="utf-8")
    known = labelled_questions(files)

    assert all(known[f"What is the {file.stem} {number}?"] for file in files for number in range(9))
    for file, inside in ((ON_PAGES, True), (NOT_ON_PAGES, False)):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert {known[line] for line in lines if not line.startswith("#")} == {inside}
    assert not any(line.startswith("#") or not line.strip() for line in known)
    assert known == labelled_questions(files)
    assert len(known) > 2 * REWORDED


def test_the_border_separates_wordings_that_the_rule_has_not_learned() -> None:
    rng = np.random.default_rng(0)
    known = {f"{'in' if inside else 'out'} {n}": inside for inside in (True, False) for n in range(6 * BLOCK)}
    vectors = {
        text: QuestionVectors(np.zeros(4, np.float32), np.array([inside, *rng.normal(0, 0.1, 3)], np.float32))
        for text, inside in known.items()
    }
    rule, border = adjustment(known, vectors, dict.fromkeys(known, 0.0))
    taken = {text: SHARE * rule.value(vectors[text].lower) > border for text in known}
    assert taken == known
