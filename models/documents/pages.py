"""The pages of a file: of a PDF, of an image of several pages, or the only one of an image.

A page of a path is written "file.pdf#3" or "file.pdf#page=3".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import PIL.Image

from models.core.errors import UserError
from models.core.images import MAX_SIDE, check_length, load_image, pages_in, read_file
from models.core.types import Image, TextLine
from models.documents import pdf

_PAGE = re.compile(r"(?P<file>.+)#(?:page=)?(?P<number>\d{1,6})", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One page of a file. Nothing is decoded before it is asked for, and nothing decoded is kept.

    file: None for a page that came as bytes. name: of the file, without the page. number: from 1. pages: of the file.
    sha256: of the file's bytes, in hexadecimal. Safe to use from several threads.
    """

    file: Path | None
    name: str
    number: int
    pages: int
    sha256: str
    _data: bytes = field(repr=False)
    _frame: int | None = field(repr=False)  # of an image; None for a PDF

    @property
    def label(self) -> str:
        """The name, with the number of the page where there are several: "scan.pdf#2"."""
        return f"{self.name}#{self.number}" if self.pages > 1 else self.name

    @property
    def size(self) -> int:
        """Of the whole file, in bytes."""
        return len(self._data)

    @property
    def is_whole_file(self) -> bool:
        """Whether the file is an image that has this page alone."""
        return self._frame is not None and self.pages == 1

    def image(self) -> PIL.Image.Image:
        """The page upright in RGB, at most models.core.images.MAX_SIDE pixels a side. Raises UserError."""
        return PIL.Image.fromarray(self.picture().pixels)

    def text_layer(self) -> tuple[TextLine, ...] | None:
        """The text that the file states, with boxes as shares of the page; None where it has to be read in the pixels.

        Raises UserError when the page is damaged.
        """
        if self._frame is None:
            return pdf.text_layer(self._data, self.number, self.label)
        return self.picture().text

    def image_file(self) -> bytes | None:
        """The bytes of an image file of which this is the only page; None for a page of a document."""
        return self._data if self.is_whole_file else None

    def picture(self, longest: int | None = None) -> Image:
        """The page as the image that a turn takes, with its text layer. Raises UserError.

        longest: side in pixels; None for models.core.images.MAX_SIDE.
        Its digest is the file's for a file of one image, and else made of the file's digest and the page's number.
        """
        notes: tuple[str, ...] = (f"page {self.number} of {self.pages}",) if self.pages > 1 else ()
        if self._frame is None:
            pixels = pdf.draw(self._data, self.number, self.label, longest or MAX_SIDE)
            text = pdf.text_layer(self._data, self.number, self.label)
            return Image(pixels, self._digest(), self.label, notes, text=text)
        image = load_image(self._data, self.label, longest=longest, frame=self._frame)
        if self.pages == 1:
            return image
        notes += tuple(note for note in image.notes if not note.startswith("first of"))
        return replace(image, digest=self._digest(), notes=notes)

    def _digest(self) -> str:
        return page_digest(self.sha256, self.number)


def pages_of(source: Path | str | bytes, name: str | None = None) -> Iterator[Page]:
    """The pages of a file, in their order, or the one page that a path names.

    source: a path, with or without the number of a page, or the bytes of a file. name: for messages; the default is the
    file's name, or "the file" for bytes. Raises UserError at once for a file that cannot be read or is no document, and
    for a page that it does not have. A damaged page raises when it is used.
    """
    number, file = None, None
    if isinstance(source, bytes):
        name, data = name or "the file", source
        check_length(len(data), name)
    else:
        file, number = split_page(Path(source))
        name, data = name or file.name, read_file(file)
    is_pdf = pdf.is_pdf(data)
    frames: tuple[int | None, ...]
    frames = (None,) * pdf.page_count(data, name) if is_pdf else pages_in(data, name)
    if number is not None and not 1 <= number <= len(frames):
        pages = "1 page" if len(frames) == 1 else f"{len(frames)} pages"
        raise UserError(f"{name} has {pages}: there is no page {number}.")
    digest = hashlib.sha256(data).hexdigest()
    wanted = range(len(frames)) if number is None else [number - 1]
    return (Page(file, name, i + 1, len(frames), digest, data, frames[i]) for i in wanted)


def page_digest(digest: str, number: int) -> str:
    """The digest of a page of several. digest: of the file. number: from 1. All in hexadecimal."""
    return hashlib.sha256(f"{digest}#{number}".encode()).hexdigest()


def load_page(source: Path | str | bytes, name: str | None = None, *, longest: int | None = None) -> Image:
    """The image of one page: the one that the path names, else the first, of which a note says so.

    longest: side in pixels; None for models.core.images.MAX_SIDE. Raises UserError, as pages_of does.
    """
    page = next(pages_of(source, name))
    image = page.picture(longest)
    named = not isinstance(source, bytes) and split_page(Path(source))[1] is not None
    if page.pages == 1 or named:
        return image
    return replace(image, notes=(f"first of {page.pages} pages", *image.notes[1:]))


def split_page(path: Path) -> tuple[Path, int | None]:
    """The file and the number of the page that a path names; None for the whole file.

    A file whose own name ends in that way is taken as it is.
    """
    match = _PAGE.fullmatch(str(path))
    if match is None or _exists(path) or not _exists(Path(match["file"])):
        return path, None
    return Path(match["file"]), int(match["number"])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
