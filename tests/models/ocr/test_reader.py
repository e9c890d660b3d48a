"""Text in images is read on this machine, when it is worth it, and can be stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from models.core.errors import UserError
from models.core.types import Image, TextLine
from models.ocr import reader as ocr
from models.ocr.page_layout import PageText
from models.ocr.prompt_text import as_prompt_lines
from models.ocr.reader import OcrCache, ReadingStopped, TextReader, may_be_page

RECEIPT = (
    ("ACME TRADING", "", ""),
    ("Milk", "2", "3.10"),
    ("Bread", "1", "2.40"),
    ("Rice", "4", "7.25"),
    ("TOTAL", "", "12.75"),
    ("Date 14/03/2018", "", ""),
)


def image(pixels: np.ndarray, name: str = "drawn") -> Image:
    return Image(np.ascontiguousarray(pixels, np.uint8), digest=name, name=name)


@pytest.fixture(scope="module")
def receipt() -> Image:
    picture = PIL.Image.new("RGB", (420, 300), "white")
    draw = PIL.ImageDraw.Draw(picture)
    font = PIL.ImageFont.load_default(size=24)
    for row, items in enumerate(RECEIPT):
        for x, item in zip((20, 220, 320), items, strict=True):
            draw.text((x, 12 + 46 * row), item, "black", font)
    return image(np.asarray(picture), "receipt")


@pytest.fixture(scope="module")
def photo() -> Image:
    """Nothing plain and nothing to read: soft blobs of all levels."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return image(
        np.asarray(PIL.Image.fromarray(coarse).resize((480, 360), PIL.Image.Resampling.BICUBIC)), "photo"
    )


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader(threads=1)


def test_a_receipt_is_read_row_by_row(reader: TextReader, receipt: Image) -> None:
    page = reader.read(receipt)
    assert as_prompt_lines(page).split("\n") == [" ".join(filter(None, items)) for items in RECEIPT]
    assert page.looks_like_document
    assert page.probability > 0.9
    total = next(line for line in page.lines if line.text == "TOTAL")
    left, top, right, bottom = total.box
    assert 0.02 < left < 0.07 < right < 0.35
    assert 0.6 < top < 0.7 < bottom < 0.82


@pytest.mark.parametrize("angle", [8, -12, 90, 180, 270])
def test_a_turned_receipt_is_read_as_the_upright_one(reader: TextReader, receipt: Image, angle: int) -> None:
    picture = PIL.Image.fromarray(receipt.pixels).resize((840, 600))
    turned = picture.rotate(
        angle, expand=True, fillcolor=(120, 100, 80), resample=PIL.Image.Resampling.BICUBIC
    )
    page = reader.read(image(np.asarray(turned)))
    assert as_prompt_lines(page).split("\n") == [" ".join(filter(None, items)) for items in RECEIPT]


def test_a_document_is_told_from_a_photo(reader: TextReader, receipt: Image, photo: Image) -> None:
    assert reader.read_document(receipt) == reader.read(receipt)
    assert reader.read_document(photo) is None


def test_a_photo_never_loads_the_models(photo: Image) -> None:
    assert TextReader(threads=1).read_document(photo) is None
    assert not may_be_page(photo)


def test_a_few_words_are_no_document(reader: TextReader) -> None:
    picture = PIL.Image.new("RGB", (300, 200), "white")
    PIL.ImageDraw.Draw(picture).text((60, 80), "STOP", "black", PIL.ImageFont.load_default(size=60))
    sign = image(np.asarray(picture))
    assert [line.text for line in reader.read(sign).lines] == ["STOP"]
    assert reader.read_document(sign) is None


@pytest.mark.parametrize("shape", [(300, 200, 3), (1, 1, 3), (5, 700, 3), (700, 3, 3)])
def test_images_without_text_have_no_lines(reader: TextReader, shape: tuple[int, int, int]) -> None:
    blank = image(np.full(shape, 255))
    assert reader.read(blank) == PageText(())
    assert reader.read_document(blank) is None


def test_reading_stops_when_cancelled(reader: TextReader, receipt: Image) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ReadingStopped):
        reader.read(receipt, cancel)


def test_reading_stops_during_the_detection(
    reader: TextReader, receipt: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = threading.Event()
    session = reader._library(None).text_det.session.session._session
    run = session.run

    def run_after_the_cancel(names: object, feed: object, options: Any) -> object:
        cancel.set()
        while not options.terminate:
            time.sleep(0.001)
        return run(names, feed, options)

    monkeypatch.setattr(session, "run", run_after_the_cancel)
    with pytest.raises(ReadingStopped):
        reader.read(receipt, cancel)
    monkeypatch.undo()
    assert reader.read(receipt, threading.Event()).lines


def test_reading_stops_between_lines(
    reader: TextReader, receipt: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = threading.Event()
    library = reader._library(None)
    read_one = library.recognize_txt
    calls: list[int] = []

    def read_and_cancel(crops: list[np.ndarray]) -> object:
        calls.append(1)
        cancel.set()
        return read_one(crops)

    monkeypatch.setattr(library, "recognize_txt", read_and_cancel)
    with pytest.raises(ReadingStopped):
        reader.read(receipt, cancel)
    assert len(calls) == 1


def test_what_the_library_cannot_do_is_told_in_one_sentence(
    reader: TextReader, receipt: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise MemoryError("no room for\nthe tensor")

    monkeypatch.setattr(reader._library(None), "recognize_txt", fail)
    with pytest.raises(UserError, match=r"text in receipt cannot be read \(the tensor\)"):
        reader.read(receipt)


def test_a_missing_library_is_told_in_one_sentence(receipt: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(UserError, match="install edge-app again"):
        TextReader(threads=1).read(receipt)


def test_nothing_is_downloaded(receipt: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert TextReader(threads=1).read(receipt).lines


def test_importing_the_reader_loads_no_library() -> None:
    code = "import sys, models.ocr.reader; print([m for m in ('rapidocr', 'cv2', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_read_texts_are_kept_in_a_file(receipt: Image, tmp_path: Path) -> None:
    page = PageText((TextLine("TOTAL é", 0.75, (0.125, 0.25, 0.5, 0.75)),))

    class Counting(TextReader):
        reads = 0

        def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:  # noqa: ARG002
            self.reads += 1
            return page

    reader, file = Counting(), tmp_path / "new" / "texts.json"
    cache = OcrCache(file)
    assert (len(cache), cache.get("receipt")) == (0, None)
    assert cache.read(receipt, reader) == cache.read(receipt, reader) == page
    cache.save()
    again = OcrCache(file)
    assert "receipt" in again
    assert again.read(receipt, reader) == page
    assert reader.reads == 1


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": 1}', '{"a": [["x", 0.5]]}', '{"a": [["x", 0.5, [1, 2]]]}']
)
def test_another_file_is_not_taken_for_read_texts(tmp_path: Path, content: str) -> None:
    file = tmp_path / "texts.json"
    file.write_text(content)
    with pytest.raises(UserError, match="delete it"):
        OcrCache(file)


def test_statistic_and_detector_work_on_small_copies(
    receipt: Image, reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    library = reader._library(None)
    detect = library.detect_and_crop

    def noted(pixels: np.ndarray, record: dict[str, object]) -> object:
        seen.append(pixels.shape)
        return detect(pixels, record)

    monkeypatch.setattr(library, "detect_and_crop", noted)
    reader.glance(receipt)
    assert max(seen[0]) <= ocr.GLANCE_SIDE
