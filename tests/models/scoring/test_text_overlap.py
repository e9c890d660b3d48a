"""The words of an answer are looked up in the text that was read."""

from __future__ import annotations

import pytest

from models.scoring.text_overlap import nearest_lines, nearest_passage, share_in_text

PAGE = "ACME Trading\nTel: 555-0143\nTOTAL 12.75"


@pytest.mark.parametrize(
    ("answer", "share"),
    [("12.75", 1.0), ("Acme Trading.", 1.0), ("acme stores", 0.5), ("a dog", 0.0), ("...", None), ("", None)],
)
def test_share_of_an_answers_words_in_the_text(answer: str, share: float | None) -> None:
    assert share_in_text(answer, PAGE) == share


def test_the_lines_with_a_questions_words_are_kept_in_their_order() -> None:
    text = "ACME\nOpen daily\nMilk 2.40\nTotal 12.75\nThe best\nCash total 20.00"
    assert nearest_lines(text, "What is the total?", 3) == "ACME\nTotal 12.75\nCash total 20.00"
    assert nearest_lines(text, "What is the total?", 9) == text
    assert nearest_lines("", "What is the total?", 3) == ""


RECEIPT = "BHPetrol Palekbang\nLot 6, Jalan Batai,\nPlaza Batai 50490, Kuala Lumpur\nTotal 77.20"


@pytest.mark.parametrize(
    ("answer", "passage"),
    [
        ("BHPETROL PALEBANG", "BHPetrol Palekbang"),
        ("LOT 6, JALAN BATAI, PLACE BATAI 50490", "Lot 6, Jalan Batai, Plaza Batai 50490,"),
        ("LOT 6, JALAN BATAI", "LOT 6, JALAN BATAI"),  # it stands there
        ("A shop of another town", "A shop of another town"),
        ("", ""),
        ("..", ".."),
        ("word " * 61, "word " * 61),
    ],
)
def test_a_passage_mends_an_answer_that_was_copied_with_mistakes(answer: str, passage: str) -> None:
    assert nearest_passage(answer, RECEIPT) == passage


def test_without_text_an_answer_stays_as_it_is() -> None:
    assert nearest_passage("BHPETROL", "") == "BHPETROL"
