"""When a conversation outgrows the context, the oldest turns go and the image in question stays."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest

from models.core.errors import UserError
from models.core.types import Image, Message
from models.language.context_window import fit, fit_texts

IMAGE_TOKENS = 10


def measure(messages: Sequence[Message]) -> int:
    """One token a word, ten an image."""
    return sum(len(message.text.split()) + IMAGE_TOKENS * len(message.images) for message in messages)


def image(name: str) -> Image:
    return Image(np.zeros((1, 1, 3), np.uint8), digest=name, name=name)


def chat(turns: int, first_image: Image | None = None) -> list[Message]:
    messages = [Message("system", "be brief")]
    for index in range(turns):
        images = (first_image,) if first_image and index == 0 else ()
        messages.append(Message("user", f"q{index} two three four", images))
        messages.append(Message("assistant", f"a{index} two three four"))
    return [*messages, Message("user", "last question")]


def test_a_conversation_that_fits_is_left_alone() -> None:
    messages = chat(3)
    fitted = fit(messages, 1000, measure)
    assert fitted.messages == tuple(messages)
    assert fitted.dropped_turns == 0
    assert fitted.tokens == measure(messages)


def test_the_oldest_turns_go_and_the_system_message_and_the_question_stay() -> None:
    fitted = fit(chat(20), 60, measure)
    assert fitted.tokens == measure(fitted.messages) <= 60
    assert fitted.messages[0].role == "system"
    assert fitted.messages[1].text == f"q{fitted.dropped_turns} two three four"
    assert fitted.messages[-1].text == "last question"


def test_the_image_in_question_moves_to_the_oldest_turn_that_is_kept() -> None:
    photo = image("photo")
    fitted = fit(chat(20, photo), 60, measure)
    assert fitted.dropped_turns > 0
    assert fitted.messages[1].images == (photo,)


def test_an_older_image_goes_when_a_newer_one_is_in_question() -> None:
    old, new = image("old"), image("new")
    messages = [*chat(20, old)[:-1], Message("user", "and this one", (new,))]
    fitted = fit(messages, 60, measure)
    assert [message.images for message in fitted.messages if message.images] == [(new,)]


def test_of_several_images_that_go_the_one_shown_last_moves() -> None:
    old, new = image("old"), image("new")
    first, *rest = chat(20, old)[1:]
    fitted = fit([first, Message("user", "and this one", (new,)), *rest], 60, measure)
    assert [message.images for message in fitted.messages if message.images] == [(new,)]


def test_a_system_message_in_the_midst_goes_with_its_turn() -> None:
    first, *rest = chat(20)
    fitted = fit([first, rest[0], Message("system", "be long"), *rest[1:]], 60, measure)
    assert [message.text for message in fitted.messages if message.role == "system"] == ["be brief"]


def test_the_start_of_the_prompt_stays_the_same_for_several_turns() -> None:
    starts = [fit(chat(turns), 200, measure).dropped_turns for turns in range(25, 60)]
    changes = sum(a != b for a, b in pairwise(starts))
    assert starts == sorted(starts)
    assert changes <= len(starts) // 4


def test_a_question_that_alone_is_too_long_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="too long: it takes 102 tokens"):
        fit([Message("system", "be brief"), Message("user", "word " * 100)], 50, measure)


def long_texts(texts: Mapping[str, str]) -> int:
    """Tokens of a conversation of three images with these texts: one a word, ten an image, ten the rest."""
    return 40 + sum(len(text.split()) for text in texts.values())


THREE = [Message("user", "q", (image("a"), image("b"))), Message("user", "q", (image("c"),))]
TEXTS = {"c": "five words are in here", "b": "three words here", "a": "two words"}


@pytest.mark.parametrize(
    ("limit", "kept"), [(50, "abc"), (49, "bc"), (48, "bc"), (47, "c"), (45, "c"), (10, "c")]
)
def test_the_text_of_the_images_shown_first_goes_first_and_of_the_last_stays(limit: int, kept: str) -> None:
    assert "".join(fit_texts(THREE, TEXTS, limit, long_texts)) == kept


def test_an_image_shown_again_counts_as_new() -> None:
    again = [*THREE, Message("user", "and in the first one?", (image("a"),))]
    assert "".join(fit_texts(again, TEXTS, 47, long_texts)) == "ca"


def test_texts_that_fit_cost_one_look_and_none_cost_nothing() -> None:
    looks: list[int] = []
    for texts in (TEXTS, {"c": "alone"}, {}):
        assert fit_texts(THREE, texts, 1000, lambda read: looks.append(1) or long_texts(read)) == texts  # type: ignore[func-returns-value]
    assert len(looks) == 1


@pytest.mark.parametrize("turns", [1, 2, 3, 7, 200])
@pytest.mark.parametrize("limit", [12, 20, 60, 300])
def test_it_takes_few_measures_to_drop_as_few_turns_as_a_search_one_by_one(turns: int, limit: int) -> None:
    messages, counted = chat(turns), 0

    def counting(messages: Sequence[Message]) -> int:
        nonlocal counted
        counted += 1
        return measure(messages)

    fitted = fit(messages, limit, counting)
    assert counted <= 2 + turns.bit_length()
    if fitted.dropped_turns:
        step = limit // 4
        target = measure(messages) - -(-(measure(messages) - limit) // step) * step
        one_less = [messages[0], *messages[1 + 2 * (fitted.dropped_turns - 1) :]]
        assert measure(one_less) > target
