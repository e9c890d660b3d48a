"""Pictures: the same bytes are decoded once, under whatever names turns give them; documents give a picture a page."""

from __future__ import annotations

import gc
import hashlib
import weakref
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from edge_app.images.image_sources import MOST_IMAGES, ImageBytes
from edge_app.turns.images import pictures as context
from edge_app.turns.images.pictures import Pictures
from models.core.errors import UserError
from models.core.images import load_image
from models.documents import pages
from tests.edge_app.conftest import png
from tests.models.documents.made_pdf import Sheet, pdf_file


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sources that were decoded."""
    calls: list[object] = []

    def counting(source: Any, name: str | None = None, **options: Any) -> object:
        calls.append(source)
        return load_image(source, name, **options)

    monkeypatch.setattr(context, "load_image", counting)
    monkeypatch.setattr(pages, "load_image", counting)
    return calls


def test_the_same_content_is_decoded_once_under_different_names(
    tmp_path: Path, decoded: list[object]
) -> None:
    pictures = Pictures()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png())
    read = [pictures.read(tmp_path / name)[0] for name in ("a.png", "b.png")]
    assert [picture.image.name for picture in read] == ["a.png", "b.png"]
    assert pictures.read(png())[0].image.digest == read[0].image.digest
    assert pictures.stored(tmp_path / "gone", read[0].image.digest, "c.png").name == "c.png"
    assert len(decoded) == 1


def test_an_image_of_another_library_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match=r"given as PIL\.Image\.Image; give a path"):
        Pictures().read(PIL.Image.new("RGB", (4, 4)))  # type: ignore[arg-type]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    pictures, file = Pictures(), tmp_path / "a.png"
    file.write_bytes(png("red"))
    [before] = pictures.read(file)
    file.write_bytes(png("blue"))
    assert pictures.read(file)[0].image.digest != before.image.digest


@pytest.mark.parametrize("name", ["~no-such-user-here/a.jpg", "a" * 5000 + ".jpg"])
def test_a_name_that_the_system_refuses_is_told_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=rf"(no file )?{name[:12]}"):
        Pictures().read(Path(name))


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch, decoded: list[object]) -> None:
    monkeypatch.setattr(context, "DECODED_BYTES", 300)
    pictures = Pictures()
    for _ in range(2):
        for colour in ("red", "blue", "green"):  # 144 bytes each: two fit
            pictures.read(png(colour))
    assert len(decoded) == 6


@pytest.mark.parametrize("make", [lambda _: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"")])
def test_what_is_no_image_file_is_named(tmp_path: Path, make: object) -> None:
    path = tmp_path / "photo.png"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=r"photo\.png"):
        Pictures().read(path)


def test_a_stored_image_that_is_not_what_it_was_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stored").write_bytes(png("blue"))
    image = Pictures().stored(tmp_path / "stored", "0" * 64, "a.png")
    with pytest.raises(UserError, match="damaged"):
        _ = image.pixels


def test_stored_images_are_decoded_when_looked_at_and_only_so_many_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[object]
) -> None:
    monkeypatch.setattr(context, "DECODED_BYTES", 300)
    pictures, images = Pictures(), []
    for number in range(5):
        data = png(size=(8, 6 + number))
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / digest).write_bytes(data)
        images.append(pictures.stored(tmp_path / digest, digest, f"{number}.png"))
    assert decoded == []
    held = [weakref.ref(image.pixels) for image in images]
    gc.collect()
    assert sum(ref() is not None for ref in held) <= 2
    assert [image.pixels.shape for image in images] == [(6 + n, 8, 3) for n in range(5)]
    assert [image.name for image in images] == [f"{n}.png" for n in range(5)]


def letter(pages: int) -> bytes:
    return pdf_file(*(Sheet([(60, 780, f"This is page {n + 1}")]) for n in range(pages)))


@pytest.mark.parametrize("saves", [True, False])
def test_every_page_of_a_document_is_a_picture_with_its_text(tmp_path: Path, saves: bool) -> None:
    (tmp_path / "bill.pdf").write_bytes(letter(2))
    read = Pictures(saves=saves).read(tmp_path / "bill.pdf")
    assert [(each.image.name, each.image.notes) for each in read] == [
        ("bill.pdf#1", ("page 1 of 2",)),
        ("bill.pdf#2", ("page 2 of 2",)),
    ]
    assert [each.image.text[0].text for each in read if each.image.text] == [
        "This is page 1",
        "This is page 2",
    ]
    assert read[0].image.digest != read[1].image.digest
    assert [bool(each.data) for each in read] == [saves, saves]


def test_a_saved_page_is_the_same_picture_when_it_is_read_again(tmp_path: Path) -> None:
    [page] = Pictures().read(ImageBytes(letter(1), "data:application/pdf"))
    digest = hashlib.sha256(page.data).hexdigest()
    assert page.image.digest == digest
    (tmp_path / digest).write_bytes(page.data)
    again = Pictures().stored(tmp_path / digest, digest, "bill.pdf")
    assert again.text == page.image.text is not None
    assert (again.pixels == page.image.pixels).all()


def test_a_page_of_a_document_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "bill.pdf").write_bytes(letter(3))
    [page] = Pictures().read(tmp_path / "bill.pdf#2")
    assert page.image.notes == ("page 2 of 3",)


def test_a_document_of_too_many_pages_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "book.pdf").write_bytes(letter(MOST_IMAGES + 1))
    with pytest.raises(UserError, match=r"^book\.pdf has 21 pages.*book\.pdf#3.*extract"):
        Pictures().read(tmp_path / "book.pdf")


def test_a_file_whose_name_begins_with_a_tilde_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "~photo.png").write_bytes(png())
    monkeypatch.chdir(tmp_path)
    assert Pictures().read(Path("~photo.png"))[0].image.name == "~photo.png"
