"""Pictures: the same bytes are decoded once, under whatever names turns give them."""

from __future__ import annotations

import gc
import hashlib
import weakref
from pathlib import Path

import pytest

from edge_app.turns import conversation as context
from edge_app.turns.conversation import Pictures
from models.core.errors import UserError
from models.core.images import load_image
from tests.edge_app.conftest import png


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sources that were decoded."""
    calls: list[object] = []

    def counting(source: object, name: str | None = None) -> object:
        calls.append(source)
        return load_image(source, name)  # type: ignore[arg-type]

    monkeypatch.setattr(context, "load_image", counting)
    return calls


def test_the_same_content_is_decoded_once_under_different_names(
    tmp_path: Path, decoded: list[object]
) -> None:
    pictures = Pictures()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png())
    read = [pictures.read(tmp_path / name) for name in ("a.png", "b.png")]
    assert [picture.image.name for picture in read] == ["a.png", "b.png"]
    assert pictures.read(png()).image.digest == read[0].image.digest
    assert pictures.stored(tmp_path / "gone", read[0].image.digest, "c.png").name == "c.png"
    assert len(decoded) == 1


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    pictures, file = Pictures(), tmp_path / "a.png"
    file.write_bytes(png("red"))
    before = pictures.read(file)
    file.write_bytes(png("blue"))
    assert pictures.read(file).image.digest != before.image.digest


@pytest.mark.parametrize("name", ["~no-such-user-here/a.jpg", "a" * 5000 + ".jpg"])
def test_a_name_that_the_system_refuses_is_told_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"{name[:12]}.*(names no user|too long|no file)"):
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
