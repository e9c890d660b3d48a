"""The text in a conversation's images, as it goes into a prompt: each image is read once, on the inference thread.

A page whose file states its text, as a PDF does, is not read: its lines are taken from there, each with probability 1.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import PIL.Image

from adapters.store.manifest import PromptPolicy, ReadsText
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Progress
from models.core.types import Box, Image
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.prompt_text import as_page_lines
from models.ocr.reader import GLANCE_LINES, ReadingStopped, TextReader, may_be_page

MOST_PAGES = 256
"""How many images have their text kept, the last used ones. A page takes a few kilobytes."""


_Key = tuple[str, ReadsText, int | None]
"""Of an image: its digest, why it was read, and the longest side (pixels) it was reduced to before."""


class Reader(Protocol):
    """The part of models.ocr.reader.TextReader that is used here."""

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText: ...

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None: ...

    def glance(self, image: Image, cancel: threading.Event | None = None) -> Sequence[Box]: ...


class _ReadImage:
    """An image that was read. page: None for one that looks like no document."""

    def __init__(self, page: PageText | None) -> None:
        self.page = page
        self._prompt_lines: dict[tuple[int, bool], str] = {}

    def prompt_lines(self, reads: PromptPolicy) -> str:
        """The lines for the adapter's prompt, with the marks of models.core.types.prompt_form; empty without text."""
        if self.page is None:
            return ""
        key = reads.prompt_format, reads.chart_ranks
        if key not in self._prompt_lines:
            self._prompt_lines[key] = as_page_lines(
                self.page, reads.prompt_format, chart_ranks=reads.chart_ranks
            )
        return self._prompt_lines[key]


class ImageTexts:
    """Reads the text in images, and keeps what was read.

    reader: None makes models.ocr.reader.TextReader with this number of threads.
    """

    def __init__(self, reader: Reader | None = None, threads: int | None = None) -> None:
        self._reader = reader or TextReader(threads)
        self._known: OrderedDict[_Key, _ReadImage] = OrderedDict()

    def of(
        self, images: Iterable[Image], reads: PromptPolicy, job: Job, longest_side: int | None = None
    ) -> dict[str, str]:
        """By digest, the lines of each image for the prompt, with marks; images without any are left out.

        longest_side: pixels; an image that has not been read yet is read in a copy of that size, which takes less
        time and may lose small print. Raises UserError when an image's text cannot be read, and CancelledError.
        """
        if reads.ocr == "never":
            return {}
        unique = {image.digest: image for image in images}
        texts = {
            digest: self._get(image, reads.ocr, job, longest_side).prompt_lines(reads)
            for digest, image in unique.items()
        }
        return {digest: text for digest, text in texts.items() if text}

    def page(self, image: Image, job: Job) -> PageText:
        """All text in an image, read at its full size. Raises as `of` does."""
        return self._get(image, "always", job, None).page or PageText(())

    def has_lines(self, image: Image, job: Job) -> bool:
        """Whether an image has as many lines of text as a page, read or not. Raises as `of` does."""
        if image.text:
            return True
        if job.cancelled.is_set():
            raise CancelledError
        try:
            return len(self._reader.glance(image, job.cancelled)) >= GLANCE_LINES
        except ReadingStopped:
            raise CancelledError from None

    def probability(self, image: Image, wanted: ReadsText, longest_side: int | None = None) -> float | None:
        """Mean probability of the text that was read in an image, 0..1; None when there was none."""
        page = self.known(image, wanted, longest_side)
        return page.probability if page is not None and page.lines else None

    def known(self, image: Image, wanted: ReadsText, longest_side: int | None = None) -> PageText | None:
        """What `of` has read in an image; None when it has read nothing, or when the image is no document."""
        known = self._known.get(self._key(image, wanted, longest_side))
        return known.page if known is not None else None

    def _key(self, image: Image, wanted: ReadsText, longest_side: int | None) -> _Key:
        """What was read at full size is also used where a smaller size would do."""
        full = image.digest, wanted, None
        return full if full in self._known else (image.digest, wanted, longest_side)

    def _get(self, image: Image, wanted: ReadsText, job: Job, longest_side: int | None) -> _ReadImage:
        key = self._key(image, wanted, longest_side)
        if key not in self._known:
            if job.cancelled.is_set():
                raise CancelledError
            try:
                self._known[key] = self._read(image, wanted, job, longest_side)
            except ReadingStopped:
                raise CancelledError from None
        self._known.move_to_end(key)
        while len(self._known) > MOST_PAGES:
            self._known.popitem(last=False)
        return self._known[key]

    def _read(self, image: Image, wanted: ReadsText, job: Job, longest_side: int | None) -> _ReadImage:
        other: ReadsText = "always" if wanted == "auto" else "auto"
        known = self._known.get(self._key(image, other, longest_side))
        if known is not None and known.page is not None:
            return known if wanted == "always" or known.page.looks_like_document else _ReadImage(None)
        if image.text:
            return _ReadImage(PageText(in_reading_order(image.text)))
        if wanted == "auto" and not may_be_page(image):
            return _ReadImage(None)
        job.emit(Progress("read", f"Reading the text in {image.name}", 0, 1))
        shown = image if longest_side is None else _within(image, longest_side)
        if wanted == "always":
            return _ReadImage(self._reader.read(shown, job.cancelled))
        return _ReadImage(self._reader.read_document(shown, job.cancelled))


def _within(image: Image, side: int) -> Image:
    height, width = image.pixels.shape[:2]
    if max(height, width) <= side:
        return image
    small = PIL.Image.fromarray(image.pixels)
    small.thumbnail((side, side), PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    return Image(np.asarray(small), image.digest, image.name, image.notes)
