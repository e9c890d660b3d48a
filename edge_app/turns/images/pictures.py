"""Reads the pictures of a turn: files, bytes, pages of documents, or decoded pixels; and those of earlier turns."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_app.events import Picture
from edge_app.images.image_paths import expanded
from edge_app.images.image_sources import MOST_IMAGES, ImageBytes
from models.core.errors import UserError
from models.core.images import load_image
from models.core.png_text import png_file
from models.core.types import Image, TextLine
from models.documents.pages import Page, pages_of

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

    @property
    def text(self) -> tuple[TextLine, ...] | None:
        return self._decoded().text


@dataclass(frozen=True)
class ReadPicture:
    """An image with the bytes whose sha256 is its digest. data: empty where nothing is saved."""

    image: Image
    data: bytes


class Pictures:
    """Reads pictures, and keeps the last ones decoded, up to DECODED_BYTES (at least one). Safe to use from several
    threads.

    saves: whether the pictures are for sessions, which need a file of each.
    """

    def __init__(self, *, saves: bool = True) -> None:
        self._saves = saves
        self._decoded: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, source: Picture) -> tuple[ReadPicture, ...]:
        """A new picture, or each page of a file that has several.

        Raises UserError when it is missing, is not a readable image, or has more than MOST_IMAGES pages, and TypeError
        for what is no picture.
        """
        if isinstance(source, Image):
            return (self._with_file(source),)
        if not isinstance(source, bytes | ImageBytes | str | Path):
            kind = f"{type(source).__module__}.{type(source).__name__}"
            raise TypeError(
                f"an image is given as {kind}; give a path, a file's bytes, or a models.core.types.Image"
            )
        pages = tuple(_pages(source))
        if len(pages) > MOST_IMAGES:
            name = pages[0].name
            raise UserError(
                f"{name} has {len(pages)} pages, and a question takes at most {MOST_IMAGES}: name one, as in "
                f"{name}#3, or let `edge-app extract` read them all into a table."
            )
        return tuple(self._of_page(page) for page in pages)

    def _of_page(self, page: Page) -> ReadPicture:
        """Decodes a page now, so that an unreadable one is reported before the turn is saved."""
        data = page.image_file()
        if data is None:
            return self._of_document(page)
        decoded = partial(self._decoded_by, page.sha256, page.picture)
        notes = decoded().notes
        return ReadPicture(ImageOnDemand(page.sha256, page.name, decoded, notes), data)

    def _of_document(self, page: Page) -> ReadPicture:
        """A page of several, which gets a file of its own when it is to be saved."""
        image, load, data = page.picture(), page.picture, b""
        if self._saves:
            data = png_file(image)
            image = replace(image, digest=hashlib.sha256(data).hexdigest())
            load = partial(load_image, data, page.label)
        self._decoded_by(image.digest, lambda: image)
        decoded = partial(self._decoded_by, image.digest, load)
        return ReadPicture(ImageOnDemand(image.digest, image.name, decoded, image.notes), data)

    def _with_file(self, image: Image) -> ReadPicture:
        """A decoded image, as a PNG file when it is to be saved. Its digest becomes that of the file, or else that of
        its pixels, since the one that it has may be of a file that it was made of."""
        if not self._saves:
            pixels = np.ascontiguousarray(image.pixels)
            digest = hashlib.sha256(f"{pixels.shape}{image.text}".encode("utf-8", "replace"))
            digest.update(pixels.data)
            return ReadPicture(replace(image, digest=digest.hexdigest()), b"")
        data = png_file(image)
        return ReadPicture(replace(image, digest=hashlib.sha256(data).hexdigest()), data)

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


def _pages(source: Path | bytes | ImageBytes) -> Iterator[Page]:
    if isinstance(source, ImageBytes):
        return pages_of(source.data, source.name)
    if isinstance(source, bytes):
        return pages_of(source, "the image")
    return pages_of(expanded(str(source)))
