"""Reads the text in a conversation's images when the adapter wants it, each image once. On the inference thread.

Knows when text is wanted and what is told meanwhile; how it is read is models.ocr.reader's business.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import PIL.Image

from adapters.store.manifest import ReadsText
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Progress
from models.core.types import Image
from models.ocr.page_layout import PageText
from models.ocr.prompt_text import as_prompt_lines
from models.ocr.reader import ReadingStopped, TextReader, may_be_page

MOST_PAGES = 256
"""Images whose text is kept, those asked for last: a page is a few kilobytes."""


_Key = tuple[str, ReadsText, int | None]
"""Of an image: its digest, why it was read, and the longest side it was brought to before."""


class Reader(Protocol):
    """The part of models.ocr.reader.TextReader that is used here."""

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText: ...

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None: ...


class ImageTexts:
    """reader: None makes models.ocr.reader's own."""

    def __init__(self, reader: Reader | None = None, threads: int | None = None) -> None:
        self._reader = reader or TextReader(threads)
        self._pages: OrderedDict[_Key, PageText | None] = OrderedDict()

    def of(
        self, images: Iterable[Image], wanted: ReadsText, job: Job, longest_side: int | None = None
    ) -> dict[str, str]:
        """By digest, the lines of each image as they go into the prompt; those without any are left out.

        longest_side: pixels; an image that has not been read yet is read in a copy of that size, which takes less
        and may cost small print. Raises UserError when an image's text cannot be read, and CancelledError.
        """
        if wanted == "never":
            return {}
        texts = {}
        for image in {image.digest: image for image in images}.values():
            page = self._page(image, wanted, job, longest_side)
            if page is not None and (lines := as_prompt_lines(page)):
                texts[image.digest] = lines
        return texts

    def probability(self, image: Image, wanted: ReadsText, longest_side: int | None = None) -> float | None:
        """How sure the reader was of the text in an image; None when none was read in it."""
        page = self._pages.get(self._key(image, wanted, longest_side))
        return page.probability if page is not None and page.lines else None

    def _key(self, image: Image, wanted: ReadsText, longest_side: int | None) -> _Key:
        """What was read at full size is as good for a smaller one."""
        full = image.digest, wanted, None
        return full if full in self._pages else (image.digest, wanted, longest_side)

    def _page(self, image: Image, wanted: ReadsText, job: Job, longest_side: int | None) -> PageText | None:
        key = self._key(image, wanted, longest_side)
        if key not in self._pages:
            if job.cancelled.is_set():
                raise CancelledError
            try:
                self._pages[key] = self._read(image, wanted, job, longest_side)
            except ReadingStopped:
                raise CancelledError from None
        self._pages.move_to_end(key)
        while len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return self._pages[key]

    def _read(self, image: Image, wanted: ReadsText, job: Job, longest_side: int | None) -> PageText | None:
        other: ReadsText = "always" if wanted == "auto" else "auto"
        known = self._pages.get(self._key(image, other, longest_side))
        if known is not None:
            return known if wanted == "always" or known.looks_like_document else None
        if wanted == "auto" and not may_be_page(image):
            return None
        job.emit(Progress("read", f"Reading the text in {image.name}", 0, 1))
        shown = image if longest_side is None else _within(image, longest_side)
        if wanted == "always":
            return self._reader.read(shown, job.cancelled)
        return self._reader.read_document(shown, job.cancelled)


def _within(image: Image, side: int) -> Image:
    height, width = image.pixels.shape[:2]
    if max(height, width) <= side:
        return image
    small = PIL.Image.fromarray(image.pixels)
    small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Image(np.asarray(small), image.digest, image.name, image.notes)
