"""Decides which image of a conversation a question is about, and what of the conversation belongs to that image.

The router, the prompt and the confidence of a turn all read this one decision. What the cloud is sent does not depend
on it.

A question is about the image that it names ("the first photo"), else about the last one that came with it, else about
that of the question before. A small model copies the answer that it gave about another image, so a conversation with
more images than the model sees at once is reduced to the image in question, the turns about it, and those before any
image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_app.storage.session_records import SavedTurn
from edge_app.turns.images.image_references import about_this_image, is_about_several, named, needs_image
from edge_app.turns.replies.about_answer import was_about_answer
from models.core.types import Image, Message

Obstacle = Literal["no_image", "several_images"]
"""no_image: the question speaks of an image and there is none. several_images: it is about more images at once than
the model sees."""


@dataclass(frozen=True)
class ImageFocus:
    """The image in question.

    image: None when the conversation has none. obstacle: why the model cannot answer; None when it can.
    messages: the conversation as the model reads it, the question last.
    previous_question: the last answered question about the same image; None when there is none.
    previous_adapter: the adapter that answered it; None for the plain model and for the cloud.
    """

    image: Image | None
    messages: tuple[Message, ...]
    obstacle: Obstacle | None = None
    previous_question: str | None = None
    previous_adapter: str | None = None


def image_in_question(
    messages: Sequence[Message],
    answered: Sequence[SavedTurn] = (),
    *,
    new: int = 0,
    images_at_once: int = 1,
) -> ImageFocus:
    """The image that the last question is about.

    messages: the whole conversation, the question last. answered: the saved turns that the earlier user messages come
    from, one for each. new: how many images came with the question. images_at_once: how many the model sees.
    """
    questions = [message for message in messages if message.role == "user"]
    shown: list[Image] = []
    about: list[Image | None] = []  # of each question
    obstacle: Obstacle | None = None
    brought = [len(turn.images) for turn in answered] or [len(each.images) for each in questions[:-1]]
    for question, came in zip(questions, (*brought, new), strict=True):
        for each in question.images:
            if shown[-1:] != [each]:
                shown.append(each)
        before = about[-1] if about else None
        image, obstacle = _decide(question, shown, before, came, images_at_once)
        about.append(image)
    image = about[-1]
    refused = [_was_refused(turn) or was_about_answer(turn) for turn in answered]
    refused += [False] * (len(questions) - len(refused))
    earlier = [
        turn
        for turn, of, is_refused in zip(answered, about, refused, strict=False)
        if of == image and not is_refused
    ]
    previous = earlier[-1] if earlier else None
    belongs = [of in (None, image) and not is_refused for of, is_refused in zip(about, refused, strict=True)]
    read = _read(messages, belongs, [of == image for of in about], image, len(set(shown)))
    if image is None and needs_image(questions[-1].text, [message.text for message in read[:-1]]):
        obstacle = "no_image"
    return ImageFocus(
        image,
        tuple(messages) if len(set(shown)) <= images_at_once and images_at_once > 1 else read,
        obstacle,
        None if previous is None else previous.question,
        None if previous is None or previous.result is None else previous.result.adapter,
    )


def _was_refused(turn: SavedTurn) -> bool:
    """Whether the app declined the question without the model. The model would repeat that about the next image."""
    answer = turn.result
    return answer is not None and answer.declined and answer.place == "local" and not answer.tokens.completion


def _decide(
    question: Message, shown: Sequence[Image], before: Image | None, new: int, images_at_once: int
) -> tuple[Image | None, Obstacle | None]:
    """The image that one question is about.

    shown: all images up to the question. before: the image of the question before. new: how many came with it.
    """
    if not shown:
        return None, None
    current = len(shown) - 1
    if not question.images and before is not None:
        current = max(position for position, image in enumerate(shown) if image == before)
    if len(set(shown)) == 1:
        return shown[current], None
    names = named(question.text, [image.name for image in shown], current, new)
    several = is_about_several(question.text, names, current, new) or (new > 1 and not names)
    if several:
        return shown[current], "several_images" if len(set(shown)) > images_at_once else None
    return shown[min(names, default=current)], None


def _read(
    messages: Sequence[Message],
    belongs: Sequence[bool],
    is_about: Sequence[bool],
    image: Image | None,
    shown: int,
) -> tuple[Message, ...]:
    """The messages of the questions that belong, with one image alone, where it is first asked about.

    belongs, is_about: for each question whether it is kept, and whether it is about the image. shown: how many images
    there are; a question says "this image" for the one that is left.
    """
    kept: list[Message] = []
    number, is_kept, is_placed = -1, True, image is None
    for message in messages:
        if message.role != "user":
            if is_kept:
                kept.append(message)
            continue
        number += 1
        is_kept = belongs[number]
        if is_kept:
            places = is_about[number] and not is_placed
            is_of_image = is_about[number] and image is not None
            text = about_this_image(message.text, shown) if is_of_image else message.text
            kept.append(replace(message, text=text, images=(image,) if places and image is not None else ()))
            is_placed = is_placed or places
    return tuple(kept)
