"""The pages that the adapter for documents learns from: what is asked stands on them, or does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

pytest.importorskip("faker", reason="needs the extra [train]")

from adapters.training.data import NOT_ON_THE_PAGE
from adapters.training.documents.composing import ABSENT_SHARE, LEARNT_ABSENT_SHARE, MOST, compose, kinds
from adapters.training.documents.drawing import as_read, draw, photographed
from adapters.training.documents.fields import WORDS, fields, read_list, training_questions
from adapters.training.documents.receipts import receipt_facts, receipt_questions
from adapters.training.documents.writing import PageCounts, text_rows, write_pages
from models.ocr.reader import OcrCache

RECEIPT = (
    "CORNER SHOP SDN BHD", "(CO.REG :704427-T)", "1 HIGH STREET", "TEL : 03-5519 0823", "GST ID No : 001092886528",
    "INVOICE NO : A-1001", "BLUE PENCIL 2.50 SR", "GLASS JAR LARGE 7.40 SR", "TOTAL 9.90", "CASH 10.00", "CHANGE 0.10",
    "GST S@6% 9.34 0.56", "28-12-17 18:52", "CASHIER: MAY",
)  # fmt: skip


@pytest.mark.parametrize("unseen", [False, True])
def test_answers_stand_on_the_page(unseen: bool) -> None:
    for number in range(60):
        page = compose(f"test {number}", unseen=unseen)
        shown = " ".join(item.text for line in page.lines for item in line.items).lower()
        for question, answer, kind in page.questions:
            assert question.strip()
            if kind == "absent":
                assert answer == NOT_ON_THE_PAGE
            else:
                assert answer.lower() in shown, (page.kind, question, answer)


def test_about_a_quarter_of_the_questions_have_no_answer() -> None:
    asked = [kind for number in range(200) for _, _, kind in compose(f"share {number}").questions]

    assert asked.count("absent") / len(asked) == pytest.approx(ABSENT_SHARE, abs=0.05)


def test_pages_for_training_are_asked_more_and_decline_less() -> None:
    pages = [compose(f"learnt {number}", learnt=True).questions for number in range(200)]
    asked = [kind for questions in pages for _, _, kind in questions]

    assert asked.count("absent") / len(asked) == pytest.approx(LEARNT_ABSENT_SHARE, abs=0.04)
    assert max(map(len, pages)) > MOST


def test_wordings_of_evaluation_are_not_among_those_for_training_only() -> None:
    def plain(words: Iterable[str]) -> set[str]:
        return {each.lower().rstrip("?. ") for each in words}

    forms, own = read_list("wordings.toml"), [field.wordings for field in fields().values()]
    kept = [each[-1] for words in own for each in (words.asks, words.nouns) if len(each) > 2]
    more = [each for words in own for each in (*words.more_asks, *words.more_nouns)]

    assert not plain(kept) & plain(more)
    assert not plain(forms["unseen"]) & (plain(forms["seen"]) | plain(forms["scope"]))
    for name, asks in WORDS.items():
        if name.startswith("ask_"):
            assert not plain(asks[-1:]) & plain(asks[:-1]), name
    assert read_list("asks.toml")["asks"].keys() | read_list("asks.toml")["nouns"].keys() <= fields().keys()


def test_equal_seeds_give_equal_pages() -> None:
    assert compose("a") == compose("a")
    assert compose("a") != compose("b")


def test_kinds_for_evaluation_are_not_among_those_for_training() -> None:
    seen = {compose(f"kinds {number}").kind for number in range(300)}

    assert seen <= set(kinds(unseen=False)) < set(kinds(unseen=True))


def test_lists_name_only_fields_that_exist() -> None:
    for kind in read_list("kinds.toml").values():
        assert set(kind["fields"].split()) <= fields().keys()
    assert {other for field in fields().values() for other in field.like} <= fields().keys()


def test_drawn_text_is_inside_the_picture_and_in_the_order_of_the_lines() -> None:
    page = compose("drawn")
    drawn = draw(page, "seed")
    texts = [line.text for line in drawn.text.lines]

    assert sorted(texts) == sorted(item.text for line in page.lines for item in line.items)
    for line in drawn.text.lines:
        left, top, right, bottom = line.box
        assert 0 <= left < right <= 1.02
        assert 0 <= top < bottom <= 1.02
    photo = photographed(drawn.picture, "seed")
    assert photo.width > drawn.picture.width


def test_misread_text_has_as_many_lines() -> None:
    text = draw(compose("misread"), "seed").text

    read = [as_read(text, str(number)) for number in range(20)]

    assert all(len(each.lines) == len(text.lines) for each in read)
    assert any(each != text for each in read)


def test_fields_of_a_receipt_are_found_by_their_labels() -> None:
    found = {fact.key: fact.value for fact in receipt_facts(RECEIPT) if fact.key}

    assert found["phone"] == "03-5519 0823"
    assert found["cashier"] == "MAY"
    assert found["change"] == "0.10"
    assert found["tax"] == "0.56"
    assert found["receipt_number"] == "A-1001"
    assert any(
        fact.value == "7.40" and "glass jar" in fact.wordings.asks[0].lower()
        for fact in receipt_facts(RECEIPT)
    )


def test_absent_questions_about_a_receipt_are_for_fields_without_a_trace() -> None:
    questions = [
        question
        for number in range(40)
        for question, answer, _ in receipt_questions(str(number), RECEIPT, {}, unseen=False)
        if answer == NOT_ON_THE_PAGE
    ]

    assert questions
    assert not [each for each in questions if "cashier" in each.lower() or "phone" in each.lower()]


def test_written_rows_have_images_and_known_texts(tmp_path: Path) -> None:
    cache = OcrCache(tmp_path / "ocr.json")

    assert list(write_pages(tmp_path, 3, PageCounts(train=2, read=1, val=1, unseen=2), cache)) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]

    rows = [json.loads(line) for line in (tmp_path / "documents.jsonl").read_text().splitlines()]
    unseen = [json.loads(line) for line in (tmp_path / "documents_unseen.jsonl").read_text().splitlines()]
    assert {row["split"] for row in rows} == {"train", "val"}
    assert {row["split"] for row in unseen} == {"val"}
    assert all((tmp_path / row["image"]).is_file() for row in rows + unseen)
    assert len(cache) == 2
    assert len(OcrCache(tmp_path / "ocr.json")) == 2


def test_text_of_a_page_is_whole() -> None:
    drawn = draw(compose("long"), "seed")

    assert len(" ".join(text_rows(drawn.text)).split()) >= len(drawn.text.lines)


def test_questions_in_all_words_of_training_have_none_of_evaluation() -> None:
    asked = training_questions(3)
    forms = read_list("wordings.toml")
    kept = {kind.wordings.asks[-1] for kind in fields().values() if len(kind.wordings.asks) > 2}

    assert len(asked) == len(set(asked)) > 3 * len(set(forms["seen"])) * 0.9
    assert not kept & set(asked)
