"""Pages of PDF files, drawn as pixels and read as text, with pdfium.

pdfium is not safe to use from several threads. Every call is made under one lock, and everything that a call opens is
closed under it. A file is opened anew for each page, which takes about a millisecond.

Files may be hostile. The number of pixels that a page is drawn with does not depend on the file; the images inside a
page are checked for their size before they are decoded; drawing is stopped after DRAWING_SECONDS.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.images import MAX_DECODED_PIXELS, MAX_JPEG_PIXELS, MAX_SIDE
from models.core.types import TextLine
from models.documents.pdf_text import text_lines

if TYPE_CHECKING:
    import pypdfium2

SIGNATURE: Final = b"%PDF-"
_SIGNATURE_WITHIN: Final = 1024
"""The signature is accepted within this many bytes from the beginning, as readers of PDF do."""

MAX_PAGES: Final = 10_000
"""A file that claims more pages is refused."""

DOTS_PER_INCH: Final = 300
"""The most pixels per inch. A page of more than 7 inches is drawn with fewer, so that no side exceeds MAX_SIDE: A4 with
175, at which 10 point letters are 24 pixels high, half of what the recognition of text scales them to."""

DRAWING_SECONDS: Final = 60.0
"""A page that takes longer to draw is refused."""

_MOST_OBJECTS: Final = 50_000  # of a page, that are searched for images
_LEAST_CHARACTERS: Final = 100
"""A page that is covered by images and has fewer characters is a scan with a stamp, whose text has to be read."""

_COVERED: Final = 0.5
_POINTS_PER_INCH: Final = 72
_ERR_PASSWORD: Final = 4
_ERR_SECURITY: Final = 5
_RENDER_DONE: Final = 2
_FLATTENED: Final = 1

_PDFIUM = threading.RLock()


def is_pdf(data: bytes) -> bool:
    """Whether the bytes begin as a PDF file does."""
    return SIGNATURE in data[: _SIGNATURE_WITHIN + len(SIGNATURE)]


def page_count(data: bytes, name: str) -> int:
    """The number of pages. name: of the file, for messages. Raises UserError when the file cannot be read."""
    with _PDFIUM, _open(data, name) as document:
        pages = len(document)
    if pages < 1:
        raise UserError(f"{name} is a PDF without pages.")
    if pages > MAX_PAGES:
        raise UserError(f"{name} is a PDF of {pages} pages, more than the limit of {MAX_PAGES}: split it.")
    return pages


def draw(data: bytes, number: int, name: str, longest: int = MAX_SIDE) -> NDArray[np.uint8]:
    """A page as pixels, uint8 [height, width, 3], RGB on white, with its annotations and filled-in form fields.

    number: of the page, from 1. name: of the page, for messages. longest: side in pixels. Raises UserError when the
    page cannot be drawn.
    """
    with _PDFIUM, _page(data, number, name) as page:
        _check_images(page, name)
        return _pixels(page, name, longest)


def text_layer(data: bytes, number: int, name: str) -> tuple[TextLine, ...] | None:
    """The text that a page states, as lines with boxes in the order of the file.

    None where the page has none, where its letters have no meaning (fonts without a table of characters), and where it
    is a scan with no more than a stamp. Raises UserError when the page cannot be read.
    """
    with _PDFIUM, _page(data, number, name) as page:
        lines = text_lines(page)
        characters = sum(len(line.text) for line in lines)
        if not lines or (characters < _LEAST_CHARACTERS and _image_cover(page) >= _COVERED):
            return None
        return lines


@contextmanager
def _open(data: bytes, name: str) -> Iterator[pypdfium2.PdfDocument]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code == _ERR_PASSWORD:
            raise UserError(f"{name} is a PDF locked with a password: save a copy without one.") from None
        if error.err_code == _ERR_SECURITY:
            raise UserError(f"{name} is a PDF with a protection that cannot be read: save a copy.") from None
        raise UserError(f"{name} is a damaged or cut off PDF: get a fresh copy of it.") from error
    with closing(document):
        yield document


@contextmanager
def _page(data: bytes, number: int, name: str) -> Iterator[pypdfium2.PdfPage]:
    import pypdfium2

    with _open(data, name) as document:
        try:
            page = document[number - 1]
            if pypdfium2.raw.FPDFPage_GetAnnotCount(page) > 0:
                # Notes and form fields become part of the page, so that they are drawn and their text is read.
                flattened = pypdfium2.raw.FPDFPage_Flatten(page, pypdfium2.raw.FLAT_NORMALDISPLAY)
                if flattened == _FLATTENED:
                    page.close()
                    page = document[number - 1]
        except (pypdfium2.PdfiumError, IndexError) as error:
            raise _damaged_page(name) from error
        try:
            yield page
        except (pypdfium2.PdfiumError, UnicodeDecodeError) as error:  # names in a damaged page are any bytes
            raise _damaged_page(name) from error


def _damaged_page(name: str) -> UserError:
    return UserError(f"{name} cannot be read: this page of the PDF is damaged.")


def _images(page: pypdfium2.PdfPage) -> Iterator[Any]:
    import pypdfium2

    wanted = [pypdfium2.raw.FPDF_PAGEOBJ_IMAGE, pypdfium2.raw.FPDF_PAGEOBJ_FORM]
    for found in islice(page.get_objects(filter=wanted), _MOST_OBJECTS):
        if found.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE:
            yield found


def _check_images(page: pypdfium2.PdfPage, name: str) -> None:
    """Raise UserError when an image in the page has more pixels than an image file may have."""
    for image in _images(page):
        width, height = image.get_px_size()
        whole = any(kind in ("JPXDecode", "JBIG2Decode") for kind in image.get_filters())
        limit = MAX_DECODED_PIXELS if whole else MAX_JPEG_PIXELS
        if width * height > limit:
            raise UserError(
                f"{name} has an image of {width} x {height} pixels, more than the limit of {limit / 1e6:.0f} "
                "million: save a smaller copy."
            )


def _image_cover(page: pypdfium2.PdfPage) -> float:
    """The share of the page that its largest image covers, at most 1."""
    width, height = page.get_size()
    areas = [0.0]
    for image in _images(page):
        left, bottom, right, top = image.get_bounds()
        areas.append(abs((right - left) * (top - bottom)))
    return min(1.0, max(areas) / max(float(width * height), 1.0))


def _pixels(page: pypdfium2.PdfPage, name: str, longest: int) -> NDArray[np.uint8]:
    import pypdfium2

    raw = pypdfium2.raw
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise UserError(f"{name} has no area: the page is {width:g} x {height:g} points.")
    scale = min(DOTS_PER_INCH / _POINTS_PER_INCH, longest / max(width, height))
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    bitmap = pypdfium2.PdfBitmap.new_native(columns, rows, raw.FPDFBitmap_BGR, rev_byteorder=True)
    with closing(bitmap):
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, columns, rows)
        deadline = time.monotonic() + DRAWING_SECONDS
        pause = raw.IFSDK_PAUSE(version=1)
        pause.NeedToPauseNow = type(pause.NeedToPauseNow)(lambda _: time.monotonic() > deadline)
        flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
        status = raw.FPDF_RenderPageBitmap_Start(
            bitmap, page, 0, 0, columns, rows, 0, flags, ctypes.byref(pause)
        )
        raw.FPDF_RenderPage_Close(page)
        if status != _RENDER_DONE:
            raise UserError(f"{name} cannot be drawn: this page of the PDF is damaged or too complex.")
        return np.array(bitmap.to_numpy())
