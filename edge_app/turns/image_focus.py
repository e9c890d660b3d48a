"""Decides which image of a conversation a question is about, and what of the conversation belongs to that image.

The router, the prompt and the confidence of a turn all read this one decision. What the cloud is sent does not depend
on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.storage.sessions import SavedTurn
from models.core.types import Image, Message


@dataclass(frozen=True)
class ImageFocus:
    """The image in question.

    image: None when the conversation has none.
    previous_question: the last answered question about the same image; None when there is none.
    previous_adapter: the adapter that answered it; None for the plain model and for the cloud.
    """

    image: Image | None
    previous_question: str | None = None
    previous_adapter: str | None = None


def image_in_question(messages: Sequence[Message], answered: Sequence[SavedTurn] = ()) -> ImageFocus:
    """The image that the last question is about: the one that was shown last.

    messages: the whole conversation, the question last. answered: the saved turns that the earlier user messages come
    from, one for each.
    """
    focus: list[Image | None] = []
    for message in messages:
        if message.role == "user":
            before = focus[-1] if focus else None
            focus.append(message.images[-1] if message.images else before)
    image = focus[-1]
    for turn, about in reversed(list(zip(answered, focus, strict=False))):
        if about == image:
            adapter = turn.result.adapter if turn.result is not None else None
            return ImageFocus(image, turn.question, adapter)
    return ImageFocus(image)
