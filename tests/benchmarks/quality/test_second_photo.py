"""The measurement of second images: its cases, and what it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.quality.second_photo import (
    WORDINGS,
    PhotoCase,
    PhotoOutcome,
    PhotoStep,
    Sessions,
    as_table,
    cases,
    lines,
    main,
)
from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.assistant import Turn
from edge_app.evaluation.rows import EvaluationRow
from edge_app.events import Answered
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
    good = PhotoOutcome("good", copied=False, as_alone=True, right=True, right_alone=True)
    bad = PhotoOutcome("bad", copied=True, as_alone=False, right=None, right_alone=None)
    found = lines([good, good, bad])
    assert [(line.group, line.of, line.copied, line.right) for line in found] == [
        ("bad", 1, 1, None),
        ("good", 2, 0, 2),
    ]
    assert as_table(found).splitlines()[1].split() == ["bad", "1", "1", "0", "-", "-"]


def test_an_answer_about_the_first_photo_in_other_words_is_copied() -> None:
    cat = EvaluationRow("photos", "a.png", Path("a.png"), "?", "tabby", "main_object")
    cup = EvaluationRow("photos", "b.png", Path("b.png"), "?", "espresso", "main_object")
    texts = {"First?": "The photo shows a tabby.", "Second?": "I see a tabby."}

    class Copies:
        """Answers about the first photo in every session of two turns."""

        def answer(self, turn: Turn) -> Iterator[Answered]:
            text = texts[turn.question] if turn.session or turn.question == "First?" else "An espresso."
            yield Answered(
                Answer(
                    text=text,
                    adapter=None,
                    place="local",
                    mode="auto",
                    confidence=None,
                    reason="",
                    model="",
                    stop_reason="stop",
                    tokens=TokenCounts(),
                    timings=Timing(),
                    tokens_per_second=None,
                    session="s",
                )
            )

    judged = PhotoStep("Second?", cup.file, cup)
    case = PhotoCase("second photo", (PhotoStep("First?", cat.file, cat), judged), (judged,))
    found = Sessions(Copies()).outcome(case)  # type: ignore[arg-type]
    assert found == PhotoOutcome("second photo", copied=True, as_alone=False, right=False, right_alone=True)


def test_a_file_without_rows_of_the_split_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png())
    fields = {"image": "a.png", "question": "?", "answer": "cat", "type": "main_object", "split": "train"}
    (tmp_path / "photos.jsonl").write_text(json.dumps(fields))
    assert main([str(tmp_path / "photos.jsonl")]) == 1
    assert "no rows of the split 'val'" in capsys.readouterr().err
