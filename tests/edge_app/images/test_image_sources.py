"""What an argument can name as an image: paths as typed, pages, folders, patterns, pipes, data: URLs, addresses."""

from __future__ import annotations

import base64
import io
import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.extract.sources import find_files
from edge_app.images import image_sources
from edge_app.images.image_sources import MOST_IMAGES, ImageBytes, image_in_data_url, sources_of
from models.core.errors import UserError
from tests.edge_app.conftest import png
from tests.models.documents.made_pdf import Sheet, pdf_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which is the home folder as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def refusal(written: str) -> str:
    with pytest.raises(UserError) as caught:
        sources_of(written)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "-"))
    return message


def test_paths_as_people_write_them(folder: Path) -> None:
    for name in ("photo.png", "red house.png", "~photo.png", "a#b.png"):
        (folder / name).write_bytes(png())
    assert sources_of("photo.png") == (Path("photo.png"),)
    assert sources_of("./photo.png") == (Path("photo.png"),)
    assert sources_of("~/photo.png") == (folder / "photo.png",)
    assert sources_of("~photo.png") == sources_of("./~photo.png") == (Path("~photo.png"),)
    assert sources_of(f"file://{folder}/red%20house.png") == (folder / "red house.png",)
    assert sources_of(f"FILE:{folder}/photo.png") == (folder / "photo.png",)
    assert sources_of("a#b.png") == (Path("a#b.png"),)


def test_a_page_of_a_document(folder: Path) -> None:
    (folder / "bill.pdf").write_bytes(pdf_file(Sheet()))
    assert sources_of("bill.pdf#3") == (Path("bill.pdf#3"),)
    assert sources_of(f"file://{folder}/bill.pdf#page=3") == (folder / "bill.pdf#page=3",)


@pytest.mark.parametrize("written", ["./nope.jpg", "nope.pdf#2", "~/nope.jpg", "~nobody-here/nope.jpg", "[1"])
def test_a_missing_file_is_named_as_it_was_typed(written: str) -> None:
    assert refusal(written) == f"There is no file {written}: check the name and the folder."


def test_names_of_any_length_and_with_any_characters() -> None:
    assert len(refusal("a" * 5000 + ".jpg")) < 200
    assert refusal("a\nb\0.jpg") == r"There is no file a\nb\x00.jpg: check the name and the folder."


def test_an_address_on_the_web_is_shown_as_it_was_typed() -> None:
    for address in ("https://127.0.0.1:9/a.jpg?x=1", "s3://bucket/a.jpg"):
        message = refusal(address)
        assert message.startswith(f"{address} is an address on the web")
        assert "download it first" in message
    assert "another machine" in refusal("file://server/a.jpg")


def test_a_folder_gives_its_images_in_the_order_of_their_numbers(folder: Path) -> None:
    scans = folder / "scans"
    scans.mkdir()
    for name in ("page 10.png", "page 2.png", ".hidden.png", "notes.txt"):
        (scans / name).write_bytes(png())
    (scans / "more").mkdir()
    assert sources_of("scans") == (Path("scans/page 2.png"), Path("scans/page 10.png"))
    assert sources_of("scans/*.png") == (Path("scans/page 2.png"), Path("scans/page 10.png"))
    assert refusal("scans/more") == "The folder scans/more has no images."
    assert refusal("scans/*.txt") == "The pattern scans/*.txt matches no images."


def test_too_many_images_are_refused_with_what_to_do(folder: Path) -> None:
    for number in range(MOST_IMAGES + 1):
        (folder / f"{number}.png").write_bytes(b"")
    assert "has 21 images" in refusal(".")
    assert "edge-app extract" in refusal("*.png")


@pytest.mark.parametrize("written", ["-", "/dev/stdin"])
def test_standard_input(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png())))
    assert sources_of(written) == (ImageBytes(png(), "standard input"),)


def test_an_empty_name_is_not_the_working_folder(folder: Path) -> None:
    (folder / "photo.png").write_bytes(png())
    assert "is empty" in refusal("")
    with pytest.raises(UserError, match="is empty"):
        find_files(["photo.png", ""])


def test_a_terminal_is_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert "no image on standard input" in refusal("-")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=lambda: (folder / "pipe").write_bytes(png()))
    writer.start()
    assert sources_of("pipe") == (ImageBytes(png(), "the pipe"),)
    writer.join()


def test_a_pipe_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sources, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 1000)))
    assert "more than the limit" in refusal("-")


def test_data_urls() -> None:
    encoded = base64.b64encode(png()).decode()
    expected = ImageBytes(png(), "data:image/png")
    assert image_in_data_url(f"data:image/png;base64,{encoded}") == expected
    assert image_in_data_url(f"DATA:image/PNG;charset=utf-8;BASE64,{encoded}") == expected
    assert image_in_data_url(f"data:image/png;base64,{encoded.rstrip('=')}") == expected
    assert image_in_data_url(f"data:image/png;base64,{encoded.replace('+', '%2B')}") == expected
    assert image_in_data_url("data:,a%20b").data == b"a b"
    assert sources_of(f"data:image/png;base64,{encoded}") == (expected,)


def test_data_urls_that_are_not_well_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not in base64" in refusal("data:image/png;base64,***")
    assert "not in base64" in refusal("data:image/png;base64,AAA\ud800")
    with pytest.raises(UserError, match="not a data: URL"):
        image_in_data_url("image/png;base64,AAAA")
    monkeypatch.setattr(image_sources, "MAX_FILE_BYTES", 10)
    assert "limit" in refusal("data:image/png;base64," + "A" * 100)


@given(
    st.text(max_size=60)
    | st.text(max_size=40).map("data:image/png;base64,".__add__)
    | st.text().map("file://".__add__)
)
def test_any_text_names_images_or_gives_one_sentence(written: str) -> None:
    if written in ("-", "/dev/stdin"):
        return
    try:
        sources_of(written)
    except UserError as error:
        assert "\n" not in str(error)
