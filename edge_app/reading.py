"""Reads the text in a conversation's images when the adapter wants it, each image once. On the inference thread.

Knows when text is wanted and what is told meanwhile; how it is read is models.ocr's business.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from edge_app.events import Progress
from edge_app.inference import CancelledError, Job
from models.lora import ReadsText
from models.ocr import PageText, ReadingStopped, TextReader, as_prompt_lines, may_be_page
from models.types import Image

MOST_PAGES = 256
"""Images whose text is kept, those asked for last: a page is a few kilobytes."""


class Reader(Protocol):
    """The part of models.ocr.TextReader that is used here."""

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText: ...

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None: ...


class ImageTexts:
    """reader: None makes models.ocr's own."""

    def __init__(self, reader: Reader | None = None, threads: int | None = None) -> None:
        self._reader = reader or TextReader(threads)
        self._pages: OrderedDict[tuple[str, ReadsText], PageText | None] = OrderedDict()

    def of(self, images: Iterable[Image], wanted: ReadsText, job: Job) -> dict[str, str]:
        """By digest, the lines of each image as they go into the prompt; those without any are left out.

        Raises UserError when an image's text cannot be read, and CancelledError.
        """
        if wanted == "never":
            return {}
        texts = {}
        for image in {image.digest: image for image in images}.values():
            page = self._page(image, wanted, job)
            if page is not None and (lines := as_prompt_lines(page)):
                texts[image.digest] = lines
        return texts

    def probability(self, image: Image, wanted: ReadsText) -> float | None:
        """How sure the reader was of the text in an image; None when none was read in it."""
        page = self._pages.get((image.digest, wanted))
        return page.probability if page is not None and page.lines else None

    def _page(self, image: Image, wanted: ReadsText, job: Job) -> PageText | None:
        key = image.digest, wanted
        if key not in self._pages:
            if job.cancelled.is_set():
                raise CancelledError
            try:
                self._pages[key] = self._read(image, wanted, job)
            except ReadingStopped:
                raise CancelledError from None
        self._pages.move_to_end(key)
        while len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return self._pages[key]

    def _read(self, image: Image, wanted: ReadsText, job: Job) -> PageText | None:
        known = self._pages.get((image.digest, "always" if wanted == "auto" else "auto"))
        if known is not None:
            return known if wanted == "always" or known.looks_like_document else None
        if wanted == "auto" and not may_be_page(image):
            return None
        job.emit(Progress("read", f"Reading the text in {image.name}", 0, 1))
        if wanted == "always":
            return self._reader.read(image, job.cancelled)
        return self._reader.read_document(image, job.cancelled)
