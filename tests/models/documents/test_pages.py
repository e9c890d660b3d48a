"""Pages of files: each page of a PDF or TIFF, one of them by its number, and the saved form of a page."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from models.core.errors import UserError
from models.core.images import load_image
from models.core.png_text import png_file
from models.core.types import Image, TextLine
from models.documents.pages import load_page, pages_of, split_page
from tests.models.documents.made_pdf import Sheet, pdf_file

THREE = pdf_file(*(Sheet([(60, 780, f"This is page {n}")]) for n in (1, 2, 3)))


def tiff(*colours: str) -> bytes:
    frames = [PIL.Image.new("RGB", (40, 20 + 10 * i), colour) for i, colour in enumerate(colours)]
    out = io.BytesIO()
    frames[0].save(out, "TIFF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def test_every_page_of_a_pdf_with_its_number_and_text(tmp_path: Path) -> None:
    file = tmp_path / "bill.pdf"
    file.write_bytes(THREE)
    pages = list(pages_of(file))
    assert [(page.number, page.pages, page.label) for page in pages] == [
        (1, 3, "bill.pdf#1"),
        (2, 3, "bill.pdf#2"),
        (3, 3, "bill.pdf#3"),
    ]
    assert {page.sha256 for page in pages} == {hashlib.sha256(THREE).hexdigest()}
    assert [page.text_layer()[0].text for page in pages] == [f"This is page {n}" for n in (1, 2, 3)]  # type: ignore[index]
    image = pages[1].picture()
    assert image.notes == ("page 2 of 3",)
    assert image.text == pages[1].text_layer()
    assert pages[1].image().size == (image.pixels.shape[1], image.pixels.shape[0])
    assert len({page.picture().digest for page in pages}) == 3


@pytest.mark.parametrize("written", ["bill.pdf#2", "bill.pdf#page=2"])
def test_one_page_by_its_number(written: str, tmp_path: Path) -> None:
    (tmp_path / "bill.pdf").write_bytes(THREE)
    [page] = pages_of(tmp_path / written)
    assert (page.number, page.pages) == (2, 3)


def test_a_page_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "bill.pdf").write_bytes(THREE)
    with pytest.raises(UserError, match=r"^bill\.pdf has 3 pages: there is no page 7\.$"):
        pages_of(tmp_path / "bill.pdf#7")


def test_a_file_whose_name_ends_like_a_page_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("photo.png", "photo.png#2"):
        PIL.Image.new("RGB", (4, 4), "red").save(tmp_path / name, "PNG")
    assert split_page(tmp_path / "photo.png#2") == (tmp_path / "photo.png#2", None)
    assert split_page(tmp_path / "photo.png#1") == (tmp_path / "photo.png", 1)


def test_every_page_of_a_tiff_and_none_of_its_thumbnails() -> None:
    pages = list(pages_of(tiff("red", "white", "blue"), "scan.tif"))
    assert [tuple(page.picture().pixels[0, 0]) for page in pages] == [
        (255, 0, 0),
        (255, 255, 255),
        (0, 0, 255),
    ]
    assert [page.picture().pixels.shape[0] for page in pages] == [20, 30, 40]
    assert pages[2].picture().notes == ("page 3 of 3",)
    thumbnail = PIL.Image.new("RGB", (4, 4))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    out = io.BytesIO()
    PIL.Image.new("RGB", (40, 20)).save(out, "TIFF", save_all=True, append_images=[thumbnail])
    assert len(list(pages_of(out.getvalue(), "photo.tif"))) == 1


def test_an_image_is_its_own_only_page(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    PIL.Image.new("RGB", (6, 4), "red").save(file)
    [page] = pages_of(file)
    assert (page.label, page.number, page.pages, page.text_layer()) == ("photo.png", 1, 1, None)
    assert page.picture().digest == load_image(file).digest


def test_load_page_takes_the_first_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "bill.pdf").write_bytes(THREE)
    assert load_page(tmp_path / "bill.pdf").notes == ("first of 3 pages",)
    assert load_page(tmp_path / "bill.pdf#3").notes == ("page 3 of 3",)
    assert load_page(pdf_file(Sheet([(60, 780, "One")])), "one.pdf").notes == ()


def test_what_is_no_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        pages_of(tmp_path / "absent.pdf#2")
    with pytest.raises(UserError, match="the file is not an image"):
        pages_of(b"some text")
    with pytest.raises(UserError, match="empty"):
        pages_of(b"")


def test_a_saved_page_keeps_its_text() -> None:
    lines = (TextLine("Total 日本 🎈", 1.0, (0.1, 0.2, 0.30001, 0.4)),)
    page = Image(np.full((4, 6, 3), 200, np.uint8), "d", "bill.pdf#1", text=lines)
    data = png_file(page)
    assert data == png_file(page)
    read = load_image(data, "bill.pdf#1")
    assert read.text == lines
    assert np.array_equal(read.pixels, page.pixels)
    assert load_image(png_file(Image(page.pixels, "d", "photo")), "photo").text is None


def test_text_that_makes_no_sense_in_a_saved_page_is_ignored() -> None:
    huge = f'[["a", [1{"0" * 400}, 0, 1, 1]]]'
    for content in ("", "[", "7", "{}", '[["a", [1]]]', '[["a", ["x", 1, 2, 3]]]', huge, "[" * 5000):
        chunks = PIL.PngImagePlugin.PngInfo()
        chunks.add_itxt("edge-app:lines", content)
        out = io.BytesIO()
        PIL.Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=chunks)
        assert load_image(out.getvalue()).text is None
