"""How closely an image is looked at when the setting leaves it open: questions of both kinds."""

from __future__ import annotations

import pytest

from edge_app.images.image_detail import DETAILS, detail_of, needs_detail

CLOSELY = (
    "Read the text in this screenshot.",
    "what does the sign say",
    "How many birds are on the wire?",
    "Count the chairs.",
    "What is the total?",
    "Which number plate has the car?",
    "What is written on the bottle?",
    "Describe this in detail.",
    "What time does the clock show?",
    "Which bar of the chart is the highest?",
)

QUICKLY = (
    "What is this?",
    "Describe the picture.",
    "What colour is the car?",
    "Is there a dog?",
    "Where was this taken?",
    "Which animal is it?",
    "Is it indoors or outdoors?",
    "Who is this?",
    "Is the man smiling?",
)


@pytest.mark.parametrize("question", CLOSELY)
def test_a_question_to_read_or_to_count_needs_detail(question: str) -> None:
    assert needs_detail(question)


@pytest.mark.parametrize("question", QUICKLY)
def test_a_question_about_the_scene_needs_none(question: str) -> None:
    assert not needs_detail(question)


def test_auto_looks_closely_at_pages_and_for_the_rest_of_a_chat_that_needed_it() -> None:
    assert detail_of("auto", ["What is this?"], lambda: False) == "low"
    assert detail_of("auto", ["What is this?"], lambda: True) == "high"
    assert detail_of("auto", ["How many are there?", "What is this?"], lambda: False) == "high"


def test_what_was_chosen_is_not_decided_again() -> None:
    def is_page() -> bool:
        raise AssertionError("nothing is read from the image")

    assert DETAILS == ("auto", "low", "high")
    assert detail_of("low", ["Count them."], is_page) == "low"
    assert detail_of("high", ["What is this?"], is_page) == "high"
    assert detail_of("auto", ["Count them."], is_page) == "high"
