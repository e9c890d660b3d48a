"""Decides which image of a conversation a question is about, and what of the conversation belongs to that image.

The router, the prompt and the confidence of a turn all read this one decision. What the cloud is sent does not depend
on it.

A question is about the image that it names ("the first photo"), else about the last one that came with it, else about
that of the question before. A small model copies the answer that it gave about another image, so the prompt of a model
that sees one image at a time has the image in question, the turns about it, and those before any image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_app.storage.sessions import SavedTurn
from edge_app.turns.image_references import is_about_several, named, needs_image
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
    for number, question in enumerate(questions, 1):
        for each in question.images:
            if shown[-1:] != [each]:
                shown.append(each)
        brought = new if number == len(questions) else 0
        before = about[-1] if about else None
        image, obstacle = _decide(question, shown, before, brought, images_at_once)
        about.append(image)
    image = about[-1]
    if image is None and needs_image(questions[-1].text, after_talk=len(questions) > 1):
        obstacle = "no_image"
    previous = next(
        (turn for turn, of in reversed(list(zip(answered, about, strict=False))) if of == image), None
    )
    return ImageFocus(
        image,
        tuple(messages) if images_at_once > 1 or image is None else _belonging(messages, about, image),
        obstacle,
        None if previous is None else previous.question,
        previous.result.adapter if previous is not None and previous.result is not None else None,
    )


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
    several = is_about_several(question.text, names, current) or (new > 1 and not names)
    if several:
        return shown[current], "several_images" if images_at_once == 1 else None
    return shown[min(names, default=current)], None


def _belonging(
    messages: Sequence[Message], about: Sequence[Image | None], image: Image
) -> tuple[Message, ...]:
    """The messages about one image and those before any image, with that image alone, where it is first asked about.

    about: the image of each question in the messages.
    """
    kept: list[Message] = []
    number, belongs, is_placed = 0, True, False
    for message in messages:
        if message.role != "user":
            if belongs:
                kept.append(message)
            continue
        of = about[number]
        number += 1
        belongs = of is None or of == image
        if belongs:
            places = of == image and not is_placed
            kept.append(replace(message, images=(image,) if places else ()))
            is_placed = is_placed or places
    return tuple(kept)
