"""Drawn pages are the same for the same seed, and answers about them are counted by who gave them."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.quality.pages.document_questions import AskedQuestion, summary
from benchmarks.quality.pages.drawn_pages import drawn_questions

ANSWER = AskedQuestion(
    "letter", "Who signed it?", "Ada", "Ada", "field", True, True, 0.9, None, None, None, None
)


def test_a_seed_draws_the_same_pages_and_another_seed_others() -> None:
    def drawn(seed: int) -> list[tuple[str, str, str]]:
        return [(q.image.digest, q.question, q.answer) for q in drawn_questions(seed, 7, 2)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(drawn(1)) == 14
    assert {q.group for q in drawn_questions(1, 7, 2)} == {"letter", "screen"}


def test_right_answers_are_counted_by_group_and_by_who_gave_them() -> None:
    wrong = replace(
        ANSWER, group="screen", answer="Ada.", how="model", right=False, confidence=0.2, mean_logprob=-1.0
    )
    declined = replace(ANSWER, how="declined", right=False, holds=False, confidence=None)
    table = summary([ANSWER, wrong, declined])
    assert table["letter"] == {"asked": 2, "right": 1, "holds": 1}
    assert table["model"] == {"asked": 1, "right": 0, "holds": 1}
    assert table["all"]["asked"] == 3
    assert table["auroc_confidence"] == 1
    assert table["auroc_mean_logprob"] is None
