"""The image that a question is about, and the conversation that a model that sees one image at a time reads."""

from __future__ import annotations

import numpy as np

from edge_app.answer import Answer, Timing, TokenCounts
from edge_app.storage.session_records import SavedTurn
from edge_app.turns.images.image_focus import ImageFocus, image_in_question
from models.core.types import Image, Message

PIXELS = np.zeros((4, 4, 3), np.uint8)
CAT, CUP, BUS = (Image(PIXELS, name, f"{name}.jpg") for name in ("cat", "cup", "bus"))


def conversation(*questions: str | tuple[str, Image], system: str | None = None) -> list[Message]:
    """Every question but the last is answered with its text in capitals."""
    messages = [Message("system", system)] if system else []
    for question in questions:
        text, images = (question, ()) if isinstance(question, str) else (question[0], question[1:])
        messages += [Message("user", text, images), Message("assistant", text.upper())]
    return messages[:-1]


def focus(*questions: str | tuple[str, Image], images_at_once: int = 1) -> ImageFocus:
    messages = conversation(*questions)
    return image_in_question(messages, new=len(messages[-1].images), images_at_once=images_at_once)


def read(found: ImageFocus) -> list[tuple[str, tuple[Image, ...]]]:
    """The questions that the model reads, with their images."""
    return [(message.text, message.images) for message in found.messages if message.role == "user"]


def test_a_new_image_is_what_the_question_is_about() -> None:
    found = focus(("What is this?", CAT), ("What is this?", CUP))
    assert found.image == CUP
    assert read(found) == [("What is this?", (CUP,))]
    assert "WHAT IS THIS?" not in [message.text for message in found.messages]


def test_a_follow_up_stays_with_the_image_and_its_turns() -> None:
    found = focus(("What is this?", CAT), ("And this?", CUP), "Are you sure?", "Why?")
    assert found.image == CUP
    assert read(found) == [("And this?", (CUP,)), ("Are you sure?", ()), ("Why?", ())]
    assert [m.text for m in found.messages if m.role == "assistant"] == ["AND THIS?", "ARE YOU SURE?"]


def test_the_first_photo_is_the_first_photo_and_what_follows_stays_with_it() -> None:
    turns = [("What is this?", CAT), ("And this?", CUP), "What is in the first photo?"]
    found = focus(*turns)
    assert found.image == CAT
    assert read(found) == [("What is this?", (CAT,)), ("What is in this photo?", ())]
    assert focus(*turns, "And its colour?").image == CAT
    assert focus(*turns, "And cup.jpg?").image == CUP
    assert focus(*turns, ("And this?", BUS)).image == BUS


def test_an_image_that_is_shown_again_keeps_its_turns() -> None:
    found = focus(("What is this?", CAT), ("And this?", CUP), ("Now this.", CAT))
    assert read(found) == [("What is this?", (CAT,)), ("Now this.", ())]


def test_what_was_said_before_any_image_stays() -> None:
    messages = conversation("I am a vet.", ("What is this?", CAT), ("And this?", CUP), system="Be brief.")
    found = image_in_question(messages, new=1)
    assert found.messages[0] == Message("system", "Be brief.")
    assert read(found) == [("I am a vet.", ()), ("And this?", (CUP,))]


def test_a_conversation_about_one_image_is_read_whole() -> None:
    messages = conversation("Hello", ("What is this?", CAT), "Why?", "Which is bigger, a cat or a dog?")
    assert image_in_question(messages).messages == tuple(messages)
    assert image_in_question(messages).obstacle is None


def test_a_comparison_of_images_is_an_obstacle_for_a_model_that_sees_one() -> None:
    turns = [("What is this?", CAT), ("And this?", CUP), "Compare them."]
    assert focus(*turns).obstacle == "several_images"
    assert focus(*turns, images_at_once=2).obstacle is None
    assert focus(*turns, "And its colour?").obstacle is None
    assert focus(("What is this?", CAT), "Compare them.").obstacle is None


def test_several_images_in_one_question_are_an_obstacle_unless_it_names_one() -> None:
    assert focus(("What is this?", CAT, CUP)).obstacle == "several_images"
    named = focus(("What is in image 2?", CAT, CUP, BUS))
    assert (named.obstacle, named.image) == (None, CUP)
    assert read(named) == [("What is in this image?", (CUP,))]


def test_a_number_keeps_its_meaning_in_what_follows() -> None:
    turns = [("What is this?", CAT), ("What is in image 2?", CUP, BUS)]
    assert focus(*turns).image == BUS
    assert focus(*turns, "And its colour?").image == BUS
    assert focus(*turns, "What is in image 2?").image == CUP


def test_an_image_of_a_question_that_got_no_answer_is_no_image_of_the_next() -> None:
    messages = [
        Message("user", "What is this?", (CAT, CUP))
    ]  # the cat's question was stopped before its answer
    found = image_in_question(messages, new=1)
    assert (found.obstacle, found.image) == (None, CUP)
    assert read(found) == [("What is this?", (CUP,))]
    assert image_in_question(messages, new=0).image == CUP


def test_a_model_that_sees_several_images_reads_the_whole_conversation() -> None:
    messages = conversation(("What is this?", CAT), ("And this?", CUP))
    found = image_in_question(messages, new=1, images_at_once=2)
    assert found.messages == tuple(messages)
    assert found.image == CUP


def test_more_images_than_it_sees_are_reduced_to_the_one_in_question() -> None:
    turns = [("What is this?", CAT), ("And this?", CUP), ("And this?", BUS)]
    assert read(focus(*turns, images_at_once=2)) == [("And this?", (BUS,))]
    assert focus(*turns, "Compare them.", images_at_once=2).obstacle == "several_images"
    assert focus(*turns, "Compare them.", images_at_once=3).obstacle is None


def refused(number: int, question: str) -> SavedTurn:
    """A turn that the app declined."""
    answer = Answer(
        text=question.upper(), adapter=None, place="local", mode="auto", confidence=None, declined=True, reason="",
        model="", stop_reason="stop", tokens=TokenCounts(), timings=Timing(), tokens_per_second=None, session=None,
    )  # fmt: skip
    return SavedTurn(number, question, answer.text, "complete", None, "", (), answer)


def test_the_model_does_not_read_what_the_app_declined() -> None:
    question = "What is in this photo?"
    found = image_in_question(conversation(question, (question, CAT)), [refused(1, question)], new=1)
    assert read(found) == [(question, (CAT,))]
    both = [("What is this?", CAT, CUP), "What is in image 2?"]
    found = image_in_question(conversation(*both), [refused(1, "What is this?")])
    assert (found.image, found.obstacle, found.previous_question) == (CUP, None, None)
    assert read(found) == [("What is in this image?", (CUP,))]


def test_a_question_about_an_image_that_is_not_there_is_an_obstacle() -> None:
    assert focus("What is in this photo?").obstacle == "no_image"
    assert focus("How do I take a good photo?").obstacle is None
    assert focus(("What is in this photo?", CAT)).obstacle is None
    assert focus("I sold a photo.", "Who was in the photo?").obstacle is None
