"""The images of a turn with the detail at which they are looked at, which is decided when an encoder asks for it.

Most vision encoders look at every image in one way. For them nothing is decided, and no pixel is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_app.images.image_detail import ImageDetail, detail_of
from edge_app.turns.images.image_focus import ImageFocus
from models.core.errors import QuestionTooLongError
from models.core.types import Detail, Image, Message, TextLine
from models.ocr.reader import may_be_page


class DetailedImage(Image):
    """An image whose detail is decided at its first use. Its pixels are read when they are needed.

    is_choice: whether the detail was left to the app, which may lower it.
    """

    is_choice: bool
    _image: Image
    _decide: Callable[[Image], Detail]
    _decided: Detail | None

    def __init__(self, image: Image, decide: Callable[[Image], Detail], *, is_choice: bool) -> None:
        fields = {
            "digest": image.digest,
            "name": image.name,
            "notes": image.notes,
            "is_choice": is_choice,
            "_image": image,
            "_decide": decide,
            "_decided": None,
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)  # the way a frozen dataclass sets its fields

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self._image.pixels

    @property
    def text(self) -> tuple[TextLine, ...] | None:
        return self._image.text

    @property
    def detail(self) -> Detail:
        if self._decided is None:
            object.__setattr__(self, "_decided", self._decide(self._image))
        assert self._decided is not None
        return self._decided

    def look_less_closely(self, note: str) -> None:
        """Lowers the detail. note: tells the user."""
        object.__setattr__(self, "_decided", "low")
        object.__setattr__(self, "notes", (*self.notes, note))


def with_detail(image: Image, wanted: ImageDetail, questions: Sequence[str] = ()) -> Image:
    """The image, to be looked at as wanted. questions: of the chat about it, the last one included."""
    return DetailedImage(
        image,
        lambda own: detail_of(wanted, questions, lambda: may_be_page(own)),
        is_choice=wanted == "auto",
    )


def make_fit(messages: Sequence[Message], fits: Callable[[], bool]) -> None:
    """Lowers the detail of images where the app chose it and the question would not fit the context otherwise.

    fits: whether it does, by the details that the images have now. Raises QuestionTooLongError when it does not for
    images that are to be looked at closely.
    """
    images = dict.fromkeys(image for message in messages for image in message.images)
    if not images or fits():
        return
    close = [image for image in images if image.detail == "high"]
    for image in close:
        if isinstance(image, DetailedImage) and image.is_choice:
            image.look_less_closely(f"looked at less closely (detail low): {_many(len(close))} would not fit")
    close = [image for image in close if image.detail == "high"]
    if close and not fits():
        one = len(close) == 1
        raise QuestionTooLongError(
            f"{_many(len(close)).capitalize()} at high detail {'takes' if one else 'take'} more tokens than the model "
            f"reads at once. Look at {'it' if one else 'them'} less closely (detail low), "
            f"{'' if one else 'ask about fewer of them, '}or set context_length to more."
        )


def _many(images: int) -> str:
    return "the image" if images == 1 else f"the {images} images"


def focus_with_detail(focus: ImageFocus, wanted: ImageDetail) -> ImageFocus:
    """The focus with every image to be looked at as wanted; "auto" decides by all questions that the model reads."""
    questions = [message.text for message in focus.messages if message.role == "user"]
    known: dict[Image, Image] = {}

    def detailed(image: Image) -> Image:
        if image not in known:
            known[image] = with_detail(image, wanted, questions)
        return known[image]

    def shown(message: Message) -> Message:
        return replace(message, images=tuple(map(detailed, message.images))) if message.images else message

    return replace(
        focus,
        image=None if focus.image is None else detailed(focus.image),
        messages=tuple(map(shown, focus.messages)),
    )
