"""Pages of made-up labels: what is asked stands on them, and what is asked in vain does not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("faker", reason="needs the extra [train]")

from adapters.training.data import NOT_ON_THE_PAGE
from adapters.training.documents.fields import read_list
from adapters.training.documents.open_pages.asking import FORMS, typed
from adapters.training.documents.open_pages.composing_open import compose_open
from adapters.training.documents.open_pages.invented_fields import heads
from adapters.training.documents.page import WrittenPage
from adapters.training.documents.values import Values
from adapters.training.documents.writing import PageCounts, write_pages
from models.ocr.reader import OcrCache


def pages(count: int) -> list[WrittenPage]:
    return [compose_open(f"test {number}") for number in range(count)]


def shown(page: WrittenPage) -> str:
    return " ".join(" ".join(item.text for item in line.items) for line in page.lines).lower()


def test_answers_stand_on_the_page() -> None:
    for page in pages(150):
        text = shown(page)
        for question, answer, kind in page.questions:
            assert question.strip()
            if kind == "absent":
                assert answer == NOT_ON_THE_PAGE
            else:
                assert answer.lower() in text, (page.kind, question, answer)


def test_nothing_of_the_lists_own_marks_is_left_on_a_page_or_in_a_question() -> None:
    for page in pages(200):
        asked = " ".join(question for question, _, _ in page.questions)
        assert not set("{}<>~") & set(shown(page))
        assert not set("{}*") & set(asked)


def test_no_question_is_asked_both_with_an_answer_and_in_vain() -> None:
    for page in pages(100):
        asked = [question.lower().rstrip("?. ") for question, _, _ in page.questions]
        assert len(asked) == len(set(asked))


def test_about_a_fifth_of_the_questions_have_no_answer() -> None:
    kinds = [kind for page in pages(200) for _, _, kind in page.questions]
    assert kinds.count("absent") / len(kinds) == pytest.approx(0.2, abs=0.04)
    assert {"field", "table", "text", "absent"} == set(kinds)


def test_equal_seeds_give_equal_pages() -> None:
    assert compose_open("a") == compose_open("a")
    assert compose_open("a") != compose_open("b")


def test_questions_are_not_put_in_the_forms_that_are_kept_for_evaluation() -> None:
    kept = {form.lower().rstrip("?. ") for form in read_list("wordings.toml")["unseen"]}
    assert not kept & {form.lower().rstrip("?. ") for form in FORMS["nouns"]}


def test_a_slip_changes_few_letters() -> None:
    question = "What is the invoice number?"
    made = {typed(random.Random(number), question) for number in range(300)}
    assert question in made
    assert len(made) > 30


def test_each_head_can_be_made_asked_and_said() -> None:
    values = Values(random.Random(3), unseen=False)
    for head in heads():
        assert values.make(head.value)
        assert all(form.count("{}") == 1 for form in (*head.labels, *head.nouns, *head.asks))
        assert all("{0}" in form and "{1}" in form for form in head.says)


def test_open_pages_are_written_with_their_text(tmp_path: Path) -> None:
    cache = OcrCache(tmp_path / "ocr.json")
    assert list(write_pages(tmp_path, 4, PageCounts(0, 0, 0, 0, open=3), cache)) == [1, 2, 3]
    rows = [json.loads(row) for row in (tmp_path / "documents.jsonl").read_text().splitlines()]
    assert {row["image"] for row in rows} == {"open_0001.jpg", "open_0002.jpg", "open_0003.jpg"}
    assert {row["split"] for row in rows} == {"train"}
    assert len(json.loads((tmp_path / "ocr.json").read_text())) >= 1
