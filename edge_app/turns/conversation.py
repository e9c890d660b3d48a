"""Builds the conversation of a turn: messages and images from the session so far, and the new question.

Images are read from files, bytes or decoded pixels. The engine shortens a conversation that exceeds its context.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from edge_app.events import Answer, Picture, Turn
from edge_app.storage.session_records import NewImage, SavedTurn, Session
from edge_app.turns.replies.about_answer import was_about_answer
from models.core.errors import UserError
from models.core.images import MAX_FILE_BYTES, load_image
from models.core.types import Image, Message

DECODED_BYTES = 64 * 2**20
"""The most memory for decoded images. The images of a session may need many times that."""


class ImageOnDemand(Image):
    """An image that is decoded when its pixels are read. The pixels of an encoded image are not read again.

    Reading raises UserError when the file is gone or has changed.
    """

    _decoded: Callable[[], Image]

    def __init__(
        self, digest: str, name: str, decoded: Callable[[], Image], notes: tuple[str, ...] = ()
    ) -> None:
        """notes: for the user, about a new image."""
        fields = {"digest": digest, "name": name, "notes": notes, "_decoded": decoded}
        for field, value in fields.items():
            object.__setattr__(self, field, value)  # the way a frozen dataclass sets its fields

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self._decoded().pixels


@dataclass(frozen=True)
class ReadPicture:
    """An image with the bytes whose sha256 is its digest."""

    image: Image
    data: bytes


class Pictures:
    """Reads pictures, and keeps the last ones decoded, up to DECODED_BYTES (at least one). Safe to use from several
    threads."""

    def __init__(self) -> None:
        self._decoded: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, source: Picture) -> ReadPicture:
        """A new picture. Raises UserError when it is missing or is not a readable image."""
        if isinstance(source, Image):
            return _with_file(source)
        if isinstance(source, bytes):
            return self._decode(source, None)
        try:
            path = source.expanduser()
        except RuntimeError as error:  # "~name" of a user that there is not
            raise UserError(
                f"Cannot read {source}: {source.parts[0]} names no user of this machine."
            ) from error
        try:
            if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
                load_image(path)  # raises UserError
            return self._decode(path.read_bytes(), path.name)
        except OSError as error:  # also a name that is too long
            raise UserError(f"Cannot read {path}: {error.strerror}.") from error

    def _decode(self, data: bytes, name: str | None) -> ReadPicture:
        digest = hashlib.sha256(data).hexdigest()

        def decoded() -> Image:
            return self._decoded_by(digest, lambda: load_image(data, name))

        image = decoded()  # now, so that an unreadable image is reported before the turn is saved
        return ReadPicture(ImageOnDemand(digest, name or image.name, decoded, image.notes), data)

    def stored(self, file: Path, digest: str, name: str) -> Image:
        """A picture of an earlier turn, decoded when its pixels are read. Raises UserError when its file is gone."""

        def load() -> Image:
            _check_there(file, name)
            try:
                image = load_image(file)
            except UserError:
                image = None
            if image is None or image.digest != digest:
                raise UserError(
                    f"The image {name} of this session is damaged ({file}); attach it again in a new session."
                )
            return image

        with self._lock:
            known = digest in self._decoded
        if not known:
            _check_there(file, name)
        return ImageOnDemand(digest, name, lambda: self._decoded_by(digest, load))

    def _decoded_by(self, digest: str, load: Callable[[], Image]) -> Image:
        """The kept image of this digest, else what load returns."""
        with self._lock:
            image = self._decoded.get(digest)
        if image is None:
            image = load()
        with self._lock:
            kept = self._decoded
            kept[digest] = image
            kept.move_to_end(digest)
            while len(kept) > 1 and sum(i.pixels.nbytes for i in kept.values()) > DECODED_BYTES:
                kept.popitem(last=False)
        return image


def _check_there(file: Path, name: str) -> None:
    if not file.is_file():
        raise UserError(
            f"The image {name} of this session is gone ({file}); attach it again in a new session."
        )


def _with_file(image: Image) -> ReadPicture:
    """Encodes a decoded image as PNG. The digest of the PNG becomes that of the image."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    return ReadPicture(replace(image, digest=hashlib.sha256(data).hexdigest()), data)


def assemble(
    turn: Turn, new: Sequence[ReadPicture], session: Session | None, system: str | None, pictures: Pictures
) -> tuple[Message, ...]:
    """The messages of a turn, its question last. Raises UserError when an image of `turn.earlier` cannot be read.

    system: the system prompt of new sessions. Turns without an answer are left out. Their images are kept and belong to
    the next question.
    """
    prompt = turn.system if turn.system is not None else session.system if session else system
    if turn.earlier:
        return _given_messages(prompt, turn, new, pictures)
    earlier = session.turns if session else ()
    return _messages(prompt, earlier, turn.question, [picture.image for picture in new], pictures)


def assembled_again(session: Session, turn: SavedTurn, pictures: Pictures) -> tuple[Message, ...]:
    """The messages of a saved turn, its question last."""
    earlier = [each for each in session.turns if each.id < turn.id]
    shown = [pictures.stored(image.file, image.digest, image.name) for image in turn.images]
    return _messages(session.system, earlier, turn.question, shown, pictures)


def _messages(
    system: str | None, turns: Sequence[SavedTurn], question: str, new: Sequence[Image], pictures: Pictures
) -> tuple[Message, ...]:
    messages = [Message("system", system)] if system else []
    carried: list[Image] = []
    for earlier in turns:
        carried += [pictures.stored(i.file, i.digest, i.name) for i in earlier.images]
        if _answered(earlier):
            messages += [
                Message("user", earlier.question, tuple(carried)),
                Message("assistant", earlier.answer),
            ]
            carried = []
    return (*messages, Message("user", question, (*carried, *new)))


def _given_messages(
    system: str | None, turn: Turn, new: Sequence[ReadPicture], pictures: Pictures
) -> tuple[Message, ...]:
    """The messages of a turn whose conversation so far came with it."""
    messages = [Message("system", system)] if system else []
    for earlier in turn.earlier:
        shown = tuple(pictures.read(source).image for source in earlier.images)
        messages.append(Message(earlier.role, earlier.text, shown))
    return (*messages, Message("user", turn.question, tuple(picture.image for picture in new)))


def _answered(turn: SavedTurn) -> bool:
    return bool(turn.answer.strip()) and turn.status in ("complete", "stopped", "interrupted")


def answered_turns(turns: Sequence[SavedTurn]) -> tuple[SavedTurn, ...]:
    """The turns that are in the messages: those with an answer, one for each user message but the last."""
    return tuple(turn for turn in turns if _answered(turn))


def latest_answer(turns: Sequence[SavedTurn]) -> Answer | None:
    """The answer that "are you sure?" is about: of the last answered turn that asks something else."""
    earlier = (turn for turn in reversed(answered_turns(turns)) if not was_about_answer(turn))
    latest = next(earlier, None)
    return None if latest is None else latest.result


def new_images(pictures: Sequence[ReadPicture]) -> tuple[NewImage, ...]:
    """Converts pictures for the session store."""
    return tuple(NewImage(p.image.digest, p.image.name, p.data) for p in pictures)
