"""Pages that are read ahead give what the reader itself gives."""

from __future__ import annotations

import threading

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from edge_app.extract.read_ahead import Cores, ReadAhead, cores
from models.core.types import Image
from models.ocr.reader import GLANCE_LINES, ReadingStopped, TextReader, may_be_page


def page(*lines: str) -> Image:
    picture = PIL.Image.new("RGB", (480, 60 + 44 * len(lines)), "white")
    draw = PIL.ImageDraw.Draw(picture)
    for number, text in enumerate(lines):
        draw.text((30, 30 + 44 * number), text, "black", PIL.ImageFont.load_default(24))
    return Image(np.asarray(picture), f"page of {len(lines)}", "page.png")


BILL = page("CORNER SHOP", "Bread 2.50", "Milk 1.20", "Eggs 3.10", "Cash 10.00", "TOTAL 6.80")


@pytest.fixture
def reader() -> ReadAhead:
    return ReadAhead(1)


def test_a_page_that_was_announced_is_read_once_and_as_it_is_otherwise(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = TextReader(1).read(BILL)
    reader.pool.submit(reader.read_now, BILL).result()
    monkeypatch.setattr(TextReader, "read", None)
    assert [line.text for line in reader.read(BILL).lines] == [line.text for line in expected.lines]
    document = reader.read_document(BILL)
    assert document is not None and len(document.lines) == len(expected.lines)
    reader.close()


def test_a_page_that_was_not_announced_is_read_when_it_is_needed(reader: ReadAhead) -> None:
    assert "TOTAL" in " ".join(line.text for line in reader.read(BILL).lines)
    reader.close()


def test_an_image_that_is_no_document_has_none(reader: ReadAhead) -> None:
    photo = Image(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8), "noise", "noise.png")
    reader.read_now(photo)
    assert reader.read_document(photo) is None
    assert reader.glance(photo) == []
    reader.close()


def test_the_photo_of_a_page_on_a_table_is_read_ahead_and_is_no_document(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.linspace(60, 200, 900)[None, :, None] * np.linspace(0.6, 1, 700)[:, None, None] * np.ones(3)
    pixels = table.astype(np.uint8)
    height, width = BILL.pixels.shape[:2]
    pixels[180 : 180 + height, 200 : 200 + width] = BILL.pixels
    photo = Image(pixels, "photo of a page", "photo.jpg")
    assert not may_be_page(photo)
    expected = TextReader(1).read(photo)
    reader.read_now(photo)
    monkeypatch.setattr(TextReader, "read", None)
    assert [line.text for line in reader.read(photo).lines] == [line.text for line in expected.lines]
    assert len(reader.glance(photo)) == len(expected.lines) >= GLANCE_LINES
    assert reader.read_document(photo) is None
    reader.close()


def test_an_error_of_the_reading_is_raised_where_the_text_is_needed(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ReadingStopped

    monkeypatch.setattr(TextReader, "read", fail)
    reader.read_now(BILL)
    with pytest.raises(ReadingStopped):
        reader.read(BILL, threading.Event())
    reader.close()


def test_waiting_for_a_page_ends_when_it_is_cancelled(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, cancelled = threading.Event(), threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        begun.set()
        go_on.wait()
        raise ReadingStopped

    monkeypatch.setattr(TextReader, "read", wait)
    reader.pool.submit(reader.read_now, BILL)
    begun.wait()
    cancelled.set()
    with pytest.raises(ReadingStopped):
        reader.read(BILL, cancelled)
    go_on.set()
    reader.close()


def test_every_machine_has_a_reader_and_a_thread_for_the_model() -> None:
    assert [cores(count) for count in (1, 2, 4, 8)] == [Cores(1, 1), Cores(2, 1), Cores(3, 2), Cores(5, 4)]
