"""Questions by kind are paired with images of that kind, and their truth comes from the image's rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_app.evaluation.questions import UNANSWERABLE, AuthoredQuestion, paired, read_questions
from edge_app.evaluation.rows import EvaluationRow
from models.core.errors import UserError


def row(name: str, image: str, question: str, answer: str, kind: str) -> EvaluationRow:
    return EvaluationRow(name, image, Path(image), question, answer, kind)


LABELS = ("red circle", "blue circle", "red square", "green triangle")
SHAPES = [
    each
    for number, (colour, shape) in enumerate(label.split() for label in LABELS)
    for each in (
        row("shapes", f"{number}.png", "Which colour?", colour, "colour"),
        row("shapes", f"{number}.png", "Which shape?", shape, "shape"),
        row("shapes", f"{number}.png", "Is it red?", "yes" if colour == "red" else "no", "yes_no"),
    )
]
BILLS = [
    row("bills", "a.png", "All?", json.dumps({"total": "2.50", "address": "1 Main Street"}), "json"),
    row("bills", "a.png", "Which item?", "bread", "item"),
    row("bills", "a.png", "Which other item?", "salt", "item"),
]


def asked(
    question: str, scope: str = "in", task: str | None = None, kind: str = "shapes"
) -> AuthoredQuestion:
    return AuthoredQuestion(kind, question, scope, task, "ann")  # type: ignore[arg-type]


def test_a_question_gets_the_answer_of_its_image_s_row_of_the_same_task() -> None:
    (pair,) = paired([asked("and the colour of this one?", task="colour")], SHAPES).rows
    expected = {each.answer for each in SHAPES if each.image == pair.image and each.type == "colour"}
    assert ({pair.answer}, pair.type, pair.scope, pair.author) == (expected, "colour", "in", "ann")


def test_the_same_questions_and_images_make_the_same_pairs_in_any_order() -> None:
    questions = [asked(f"colour {number}?", task="colour") for number in range(8)]
    pairs = paired(questions, SHAPES).rows
    assert pairs == paired(questions, SHAPES[::-1]).rows
    assert len({each.image for each in pairs}) > 1


@pytest.mark.parametrize("word", ["red", "circle", "triangle"])
def test_a_yes_no_question_is_resolved_by_the_label_that_it_names(word: str) -> None:
    questions = [asked(f"{ask} {word}?", task="yes_no") for ask in ("is it", "any", "would you say", "got a")]
    rows = paired(questions, SHAPES).rows
    assert len(rows) == len(questions)
    for each in rows:
        labels = {other.answer for other in SHAPES if other.image == each.image}
        assert each.answer == ("yes" if word in labels else "no")


def test_half_of_the_yes_no_questions_are_right_with_yes() -> None:
    questions = [asked(f"{number} times: is it red?", task="yes_no") for number in range(40)]
    answers = [each.answer for each in paired(questions, SHAPES).rows]
    assert 10 < answers.count("yes") < 30


def test_what_cannot_be_told_is_left_out_and_counted() -> None:
    found = paired(
        [
            asked("is it red or blue?", task="yes_no"),
            asked("is it not red?", task="yes_no"),
            asked("is it nice?", task="yes_no"),
            asked("how large?", task="size"),
            asked("what did they buy?", task="item", kind="bills"),
            asked("what is it?", task="main_object", kind="photos"),
            asked("which page?", "out", "document", "bills"),
        ],
        [*SHAPES, *BILLS],
    )
    assert found.rows == ()
    assert found.left_out == {
        "about the text of a page": 1,
        "in scope of bills, answer not known": 1,
        "in scope of shapes, answer not known": 4,
        "no images of photos": 1,
    }


def test_the_fields_of_a_json_answer_are_answers() -> None:
    (pair,) = paired([asked("where is it?", task="address", kind="bills")], BILLS).rows
    assert (pair.answer, pair.type) == ("1 Main Street", "address")


@pytest.mark.parametrize("scope", ["out", "chat"])
def test_out_of_scope_there_is_an_image_and_no_answer(scope: str) -> None:
    (pair,) = paired([asked("who drew it?", scope)], SHAPES).rows
    assert (pair.type, pair.answer, pair.scope) == (UNANSWERABLE, "", scope)


def test_a_file_is_read_with_what_is_optional(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    line = {"kind": "shapes", "question": "colour?", "scope": "in", "task": "colour", "author": "ann"}
    other = {"kind": "shapes", "question": "hi", "scope": "chat", "author": "bob", "follow_up": True}
    file.write_text(f"{json.dumps(line)}\n\n{json.dumps(other)}\n")
    assert read_questions(file) == (
        asked("colour?", task="colour"),
        AuthoredQuestion("shapes", "hi", "chat", None, "bob"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no questions"),
        ("{", "line 1 is not JSON"),
        ("[]", "no text for 'kind'"),
        ('{"kind": "a", "question": "b", "scope": "in"}', "no text for 'author'"),
        ('{"kind": "a", "question": "b", "scope": "maybe", "author": "c"}', "must be in, out or chat"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "asked.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=words):
        read_questions(file)
    with pytest.raises(UserError, match="Cannot read"):
        read_questions(tmp_path / "absent.jsonl")


def test_what_can_be_told_is_judged_by_the_rows_of_all_images() -> None:
    question = asked("what did they buy?", task="item", kind="bills")
    (row_of_b,) = other = [row("bills", "b.png", "Which item?", "milk", "item")]
    assert [each.answer for each in paired([question], other).rows] == [row_of_b.answer]
    assert paired([question], other, [*other, *BILLS]).rows == ()
