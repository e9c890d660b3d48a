"""Reads the text of the next pages on other threads while the model answers about this one.

onnxruntime and Pillow release the interpreter's lock, so that a processor core reads while another one generates. Each
reader has one thread: two threads on one page take a fifth more processor time than one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

from models.compiler.threads import available_cpus
from models.core.types import Box, Image
from models.ocr.page_layout import PageText
from models.ocr.reader import GLANCE_LINES, ReadingStopped, TextReader, may_be_page

POLL_SECONDS = 0.05
"""How often a wait for a page looks whether it was cancelled."""

PAGES_UNTIL_TRIM = 4
"""As in TextReader. A reader holds up to 300 MB of freed memory in between."""


@dataclass(frozen=True)
class Cores:
    """How the processor is divided. readers: threads that read, a page each. model: threads of the engine."""

    readers: int
    model: int


def cores(available: int | None = None) -> Cores:
    """Half of the processors for each, and one reader more, which takes what the others leave.

    available: how many there are; None looks. Measured on receipts: a page takes a core 1.1 s to read and 0.8 s to
    answer about, so that one reader a core of the model would be behind. Readers that are ahead wait.
    """
    count = available or available_cpus()
    return Cores(count // 2 + 1, max(1, count - count // 2))


@dataclass(frozen=True)
class _Read:
    """page: all text; None when the image was not read, because it has no lines of text."""

    page: PageText | None


class ReadAhead:
    """A reader of text in images (edge_app.turns.images.image_text.Reader) to which pages can be announced.

    `read` returns what models.ocr.reader.TextReader returns. Safe to use from several threads.
    """

    def __init__(self, readers: int) -> None:
        """readers: threads, each with models of its own."""
        self.readers = readers
        self.pool = ThreadPoolExecutor(readers, thread_name_prefix="reader")
        self._own = threading.local()
        self._stopped = threading.Event()
        self._announced: dict[tuple[str, tuple[int, ...]], Future[_Read]] = {}
        self._lock = threading.Lock()

    def read_now(self, image: Image) -> None:
        """Reads an image on this thread, and keeps the result until `forget`. An error is raised by `read` later."""
        future: Future[_Read] = Future()
        with self._lock:
            self._announced[_key(image)] = future
        try:
            future.set_result(self._read(image))
        except BaseException as error:  # of the page; it is raised where the text is needed
            future.set_exception(error)

    def forget(self, image: Image) -> None:
        """Drops what is known of an image."""
        with self._lock:
            self._announced.pop(_key(image), None)

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        """All text in an image, as TextReader.read returns it, and with its exceptions."""
        announced = self._wait(image, cancel)
        if announced is not None and announced.page is not None:
            return announced.page
        return self._reader().read(image, cancel)

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        """The text of an image that looks like a document, else None."""
        announced = self._wait(image, cancel)
        if announced is None:
            return self._reader().read_document(image, cancel)
        page = announced.page
        return page if page is not None and may_be_page(image) and page.looks_like_document else None

    def glance(self, image: Image, cancel: threading.Event | None = None) -> Sequence[Box]:
        """Boxes of the text in an image; of one that was announced all of them, or none."""
        announced = self._wait(image, cancel)
        if announced is None:
            return self._reader().glance(image, cancel)
        return [] if announced.page is None else [line.box for line in announced.page.lines]

    def close(self) -> None:
        """Ends the threads; a page that is being read is given up."""
        self._stopped.set()
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _wait(self, image: Image, cancel: threading.Event | None) -> _Read | None:
        """What was read ahead; None for an image that was not announced. Raises ReadingStopped."""
        with self._lock:
            future = self._announced.get(_key(image))
        while future is not None:
            try:
                return future.result(POLL_SECONDS)
            except NotYet:
                if cancel is not None and cancel.is_set():
                    raise ReadingStopped from None
        return None

    def _read(self, image: Image) -> _Read:
        """All text of an image that may be a page, or has the lines of one, as the photo of a page on a table does."""
        reader = self._reader()
        has_text = may_be_page(image) or len(reader.glance(image, self._stopped)) >= GLANCE_LINES
        return _Read(reader.read(image, self._stopped) if has_text else None)

    def _reader(self) -> TextReader:
        """The reader of this thread, since each belongs to one."""
        if not hasattr(self._own, "reader"):
            self._own.reader = TextReader(1, PAGES_UNTIL_TRIM)
        reader: TextReader = self._own.reader
        return reader


def _key(image: Image) -> tuple[str, tuple[int, ...]]:
    """The image at its size, because the mode eco reads smaller copies."""
    return image.digest, image.pixels.shape
