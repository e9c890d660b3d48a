"""Reads the text in an image with rapidocr: PP-OCR detection and recognition on onnxruntime.

The models are files inside rapidocr's wheel and are passed by path, so nothing is downloaded. They recognise Latin
letters, digits and Chinese. Importing and loading them takes a second, and happens when the first image is read, not
when the app starts. Two cheap steps decide first whether an image is worth reading (see TextReader.read_document).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from models.compiler import threads as thread_settings
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.freed_memory import give_back_freed_memory
from models.core.types import Box, Image, TextLine
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.stoppable_session import StoppableSession
from models.ocr.straightening import Corners, across, boxes_of, lies_sideways, straight_boxes

READ_SIDE: Final = 960
"""Longest side, in pixels, at which text is detected. It is recognised at the image's own resolution."""

GLANCE_SIDE: Final = 320
"""Longest side, in pixels, of the copy on which the detector first checks whether there are any lines."""

GLANCE_LINES: Final = 4
"""An image with fewer detected lines than this at GLANCE_SIDE is no document."""

LEAST_PROBABILITY: Final = 0.5
"""Lines recognised with a lower probability are dropped, because they are seldom text."""

UPRIGHT_LINES: Final = 4
UPRIGHT_PROBABILITY: Final = 0.85
SURER_TURNED: Final = 0.15
"""A page is checked for being upside down by its longest UPRIGHT_LINES lines (see _recognise_upright). Measured on
receipts: their mean probability is 0.97 upright and 0.53 to 0.72 upside down."""

REPORTS_NOTHING: Final = "ORT_DISABLE_TELEMETRY"
"""The environment variable that switches off the telemetry of onnxruntime. Without it the official builds from 1.29 on
report every use to their maker from native code, and store an identifier of this machine on its disk."""

_NARROWEST: Final = 48
"""Least width, in pixels, of a crop of 48 pixels in height. Lines are recognised one by one without further padding,
which takes a third less time than the library's batches of six and is as accurate."""

_STATISTIC_SIDE: Final = 512
_PAPER: Final = 0.6
_STROKES: Final = 0.01


class ReadingStopped(Exception):
    """The cancel event was set while an image was being read."""


class TextReader:
    """Reads images one at a time, always on the thread that uses it first.

    threads: of detection and recognition. None takes EDGE_APP_THREADS, or else one for each core, as the engine does.
    pages_until_trim: freed memory is given back to the system after so many images. It takes 5% of an image's time.
    """

    def __init__(self, threads: int | None = None, pages_until_trim: int = 1) -> None:
        self._threads = threads
        self._pages_until_trim = pages_until_trim
        self._pages = 0
        self._loaded: Any = None  # rapidocr.RapidOCR, which has no types

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        """All text in an image, in reading order, as if the page lay straight and upright.

        A page on its side is turned and its text detected again. A page that is upside down has its lines turned. The
        boxes of a tilted page are set straight (models.ocr.straightening).
        Raises ReadingStopped when cancel is set (checked during the detection, and before each line), and
        UserError when the library cannot be used on this machine or refuses the image.
        """
        library = self._library(cancel)
        pixels = np.ascontiguousarray(image.pixels[..., ::-1])  # as OpenCV has them: BGR
        with _as_user_error(image):
            crops, corners = _detect(library, pixels, cancel)
            if lies_sideways(corners):
                pixels = np.ascontiguousarray(np.rot90(pixels))
                crops, corners = _detect(library, pixels, cancel)
            height, width = pixels.shape[:2]
            texts, upside_down = _recognise_upright(library, crops, across(corners), cancel)
        if upside_down:
            corners = (width, height) - corners
        boxes = straight_boxes(corners, width, height)
        lines = [
            TextLine(text, probability, box)
            for box, (text, probability) in zip(boxes, texts, strict=True)
            if text.strip() and probability >= LEAST_PROBABILITY
        ]
        self._pages += 1
        if self._pages % self._pages_until_trim == 0:
            give_back_freed_memory()
        return PageText(in_reading_order(lines))

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        """The text of an image that looks like a document, else None. Ordinary photos take about 5 ms.

        There are three steps, and the first that fails ends them: may_be_page (5 ms), the detector alone at
        GLANCE_SIDE, which must find GLANCE_LINES, and `read`, whose result must look like a document.
        Raises what `read` raises.
        """
        if not may_be_page(image):
            return None
        if len(self.glance(image, cancel)) < GLANCE_LINES:
            return None
        page = self.read(image, cancel)
        return page if page.looks_like_document else None

    def glance(self, image: Image, cancel: threading.Event | None = None) -> list[Box]:
        """Boxes of the text that the detector finds in a copy of the image of at most GLANCE_SIDE pixels a side.

        Raises ReadingStopped and UserError, as `read` does.
        """
        library = self._library(cancel)
        picture = PIL.Image.fromarray(image.pixels)
        picture.thumbnail((GLANCE_SIDE, GLANCE_SIDE), PIL.Image.Resampling.BOX)
        with _as_user_error(image):
            pixels = np.ascontiguousarray(np.asarray(picture)[..., ::-1])
            return boxes_of(_detect(library, pixels, cancel)[1], 0.0, pixels.shape[1], pixels.shape[0])

    def _library(self, cancel: threading.Event | None) -> Any:
        """rapidocr with its two models, loaded at the first call. Raises ReadingStopped when cancel is set."""
        if self._loaded is None:
            self._loaded = _load(self._threads or thread_settings.default_threads())
        if cancel is not None and cancel.is_set():
            raise ReadingStopped
        return self._loaded


def may_be_page(image: Image) -> bool:
    """Whether an image has a plain background with thin strokes on it, as pages, receipts and charts have.

    In a copy of at most 512 pixels a side, at least _PAPER of the grey values lie in a band of 40 around the commonest
    one, and at least _STROKES of the pixels lie outside of it in runs of at most 6 pixels. Measured: 98 of 100 receipts
    pass, 6 of 7 charts, 1 of 9 photos and 1 of 3 aerial images. Of those photos `glance` then passes 1 in 20, of the
    aerial images none.
    """
    picture = PIL.Image.fromarray(image.pixels).convert("L")
    picture.thumbnail((_STATISTIC_SIDE, _STATISTIC_SIDE), PIL.Image.Resampling.BOX)
    grey = np.asarray(picture).astype(np.int16)
    shares = np.bincount((grey >> 3).ravel(), minlength=32) / grey.size  # [32] bins of 8 grey values
    bands = np.convolve(shares, np.ones(5), "same")  # [32] bands of 5 bins around each
    if bands.max() < _PAPER:
        return False
    ink = np.abs(grey - (8 * int(bands.argmax()) + 4)) > 40  # bool [height, width]
    thick = ink.copy()  # ink of which the 3 pixels before and after, across and down, are ink as well
    for shift in (1, 2, 3):
        thick[:, shift:] &= ink[:, :-shift]
        thick[:, :-shift] &= ink[:, shift:]
    return bool((ink & ~thick).mean() >= _STROKES)


class OcrCache:
    """A JSON file of texts that were read: image digest -> lines [text, probability, box].

    For training and measuring, which read the same images many times. The constructor loads the file and raises
    UserError when it holds something else. `save` writes what was added.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pages: dict[str, PageText] = _read_pages(file) if file.exists() else {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._pages

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, digest: str) -> PageText | None:
        """The text of the image with this digest; None when it has not been read yet."""
        return self._pages.get(digest)

    def read(self, image: Image, reader: TextReader) -> PageText:
        """The text of an image, which is read unless it is in the cache."""
        if image.digest not in self._pages:
            self._pages[image.digest] = reader.read(image)
        return self._pages[image.digest]

    def add(self, digest: str, page: PageText) -> None:
        """Keep the text of an image that is known without reading it."""
        self._pages[digest] = page

    def save(self) -> None:
        """Write the whole cache under a temporary name and rename it. Raises UserError when the disk refuses."""
        content = {
            digest: [
                [line.text, round(line.probability, 4), [round(x, 5) for x in line.box]]
                for line in page.lines
            ]
            for digest, page in self._pages.items()
        }
        write_whole(self._file, json.dumps(content, ensure_ascii=False).encode())


@contextmanager
def _as_user_error(image: Image) -> Iterator[None]:
    """Turn any exception of the libraries into a UserError that names the image."""
    try:
        yield
    except (ReadingStopped, UserError):
        raise
    except Exception as error:  # OpenCV and onnxruntime raise exceptions of many types
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise UserError(
            f"The text in {image.name} cannot be read ({reason[0]}); try a smaller copy of the image."
        ) from error


def _load(threads: int) -> Any:
    """rapidocr with its two models. Raises UserError when it cannot be imported."""
    os.environ[REPORTS_NOTHING] = "1"  # read once, when onnxruntime is loaded
    try:
        import cv2
        import onnxruntime
        import rapidocr
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UserError(
            f"Text in images cannot be read here ({error}); install edge-app again with its dependencies."
        ) from error
    onnxruntime.disable_telemetry_events()  # on Windows, where the variable does nothing
    folder = Path(rapidocr.__file__).parent / "models"
    cv2.setNumThreads(threads)
    library = RapidOCR(
        params={
            # Turning upside-down lines would take a tenth of the time, and upright images have none.
            "Global.use_cls": False,
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": min(threads, thread_settings.available_cpus()),
            "Det.model_path": str(_model(folder, "*_det_*.onnx")),
            "Det.limit_type": "max",
            "Det.limit_side_len": READ_SIDE,
            "Rec.model_path": str(_model(folder, "*_rec_*.onnx")),
            "Rec.rec_img_shape": [3, 48, _NARROWEST],
        }
    )
    detector = library._load_det_model().session
    detector.session = StoppableSession(detector.session)
    return library


def _model(folder: Path, pattern: str) -> Path:
    """The only file of the wheel that matches the pattern. Raises UserError for none or several."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(f"{folder} should hold one file {pattern}; install rapidocr again.")
    return found[0]


def _detect(
    library: Any, pixels: NDArray[np.uint8], cancel: threading.Event | None
) -> tuple[list[NDArray[np.uint8]], Corners]:
    """Crops, uint8 [height, width, 3], of every place with text, with lines across, and their corners.

    pixels: BGR. Raises ReadingStopped when cancel is set meanwhile.
    """
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    prepared, record = library.preprocess_img(pixels)
    library.text_det.session.session.cancel = cancel
    try:
        crops, found = library.detect_and_crop(prepared, record)
    except RapidOCRError:  # raised when there is no text
        return [], np.zeros((0, 4, 2))
    except Exception:
        if cancel is not None and cancel.is_set():
            raise ReadingStopped from None
        raise
    height, width = pixels.shape[:2]
    return crops, map_boxes_to_original(found.boxes.astype(np.float64), record, height, width)


def _recognise_upright(
    library: Any, crops: list[NDArray[np.uint8]], lines_across: Sequence[int], cancel: threading.Event | None
) -> tuple[list[tuple[str, float]], bool]:
    """(text, probability) of each crop, and whether all were turned because the page is upside down.

    lines_across: numbers of the crops whose lines run across the page. The longest UPRIGHT_LINES of them are recognised
    first. When their mean probability is below UPRIGHT_PROBABILITY, they are recognised again, turned by 180 degrees.
    The page is upside down when that raises the mean by at least SURER_TURNED.
    """
    longest = sorted(lines_across, key=lambda i: -crops[i].shape[1] / crops[i].shape[0])[:UPRIGHT_LINES]
    known = {i: _recognise(library, crops[i], cancel) for i in longest}
    upside_down = False
    if known and _mean_probability(known) < UPRIGHT_PROBABILITY:
        turned = {i: _recognise(library, _turned(crops[i]), cancel) for i in longest}
        upside_down = _mean_probability(turned) >= _mean_probability(known) + SURER_TURNED
        if upside_down:
            known, crops = turned, [_turned(crop) for crop in crops]
    texts = [known[i] if i in known else _recognise(library, crop, cancel) for i, crop in enumerate(crops)]
    return texts, upside_down


def _mean_probability(recognised: dict[int, tuple[str, float]]) -> float:
    return sum(probability for _, probability in recognised.values()) / len(recognised)


def _turned(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(crop[::-1, ::-1])


def _recognise(library: Any, crop: NDArray[np.uint8], cancel: threading.Event | None) -> tuple[str, float]:
    """The text of a crop, and its probability."""
    if cancel is not None and cancel.is_set():
        raise ReadingStopped
    result = library.recognize_txt([crop])
    return str(result.txts[0]), float(result.scores[0])


def _read_pages(file: Path) -> dict[str, PageText]:
    """The pages in the cache's file. Raises UserError when it is damaged."""
    try:
        content = json.loads(file.read_bytes())
        return {
            str(digest): PageText(
                tuple(TextLine(str(text), float(probability), _box(box)) for text, probability, box in lines)
            )
            for digest, lines in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is not a file of read texts; delete it and it is made again.") from error


def _box(values: Any) -> Box:
    left, top, right, bottom = (float(value) for value in values)
    return left, top, right, bottom
