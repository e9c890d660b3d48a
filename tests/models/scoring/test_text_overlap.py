"""The words of an answer are looked up in the text that was read."""

from __future__ import annotations

import pytest

from models.scoring.text_overlap import nearest_lines, share_in_text

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
