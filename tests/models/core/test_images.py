"""Images: accepted formats, conversion to upright RGB on white, and the message of every refusal."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from models.core import images
from models.core.errors import UserError
from models.core.images import load_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encode(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def corner_marked() -> PIL.Image.Image:
    """40 x 20, blue, its top left 10 x 10 red."""
    image = PIL.Image.new("RGB", (40, 20), "blue")
    image.paste(RED, (0, 0, 10, 10))
    return image


def png_header(width: int, height: int) -> bytes:
    """A valid PNG header that promises width x height, with hardly any data behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


def refusal(source: Path | bytes, name: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_image(source, name)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_pixels_digest_and_name_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    corner_marked().save(path)
    image = load_image(path)
    assert image.pixels.shape == (20, 40, 3)
    assert image.pixels.dtype == np.uint8
    assert tuple(image.pixels[0, 0]) == RED
    assert image.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (image.name, image.notes) == ("photo.png", ())


def test_bytes_and_file_give_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    corner_marked().save(path)
    of_file, of_bytes = load_image(str(path)), load_image(path.read_bytes(), "pasted")
    assert of_bytes.digest == of_file.digest
    assert of_bytes.name == "pasted"
    assert np.array_equal(of_bytes.pixels, of_file.pixels)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "ICO", "JPEG2000"]
)
def test_formats_are_told_by_content_not_by_extension(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    size = {"sizes": [(40, 20)]} if kind == "ICO" else {}
    path.write_bytes(encode(corner_marked(), kind, **size))
    pixels = load_image(path).pixels.astype(int)
    assert pixels.shape == (20, 40, 3)
    assert np.abs(pixels[5, 5] - RED).max() < 40


@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [
        (1, (20, 40), (0, 0)),
        (2, (20, 40), (0, -1)),
        (3, (20, 40), (-1, -1)),
        (4, (20, 40), (-1, 0)),
        (5, (40, 20), (0, 0)),
        (6, (40, 20), (0, -1)),
        (7, (40, 20), (-1, -1)),
        (8, (40, 20), (-1, 0)),
        (99, (20, 40), (0, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_exif_orientation_is_undone(
    kind: str, orientation: int, shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    pixels = load_image(encode(corner_marked(), kind, exif=exif)).pixels.astype(int)
    assert pixels.shape[:2] == shape
    assert np.abs(pixels[corner] - RED).max() < 40


def test_an_image_with_damaged_exif_is_decoded() -> None:
    data = encode(corner_marked(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xffgarbage")
    assert load_image(data).pixels.shape == (20, 40, 3)


def test_transparent_parts_are_white_in_every_mode_that_has_them() -> None:
    rgba = PIL.Image.new("RGBA", (4, 4), (*RED, 255))
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (0, 0, 0, 128))
    pixels = load_image(encode(rgba, "PNG")).pixels
    assert tuple(pixels[0, 0]) == WHITE
    assert tuple(pixels[2, 2]) == RED
    assert abs(int(pixels[0, 1, 0]) - 127) <= 1
    grey = PIL.Image.new("LA", (4, 4), (0, 0))
    assert tuple(load_image(encode(grey, "PNG")).pixels[0, 0]) == WHITE
    palette = PIL.Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 255, 0, 0])
    assert tuple(load_image(encode(palette, "PNG")).pixels[0, 0]) == RED
    assert tuple(load_image(encode(palette, "PNG", transparency=1)).pixels[0, 0]) == WHITE
    keyed = PIL.Image.new("RGB", (4, 4), (1, 2, 3))
    assert tuple(load_image(encode(keyed, "PNG", transparency=(1, 2, 3))).pixels[0, 0]) == WHITE


def test_bilevel_grey_cmyk_and_sixteen_bits() -> None:
    assert tuple(load_image(encode(PIL.Image.new("1", (4, 4), 1), "PNG")).pixels[0, 0]) == WHITE
    assert tuple(load_image(encode(PIL.Image.new("L", (4, 4), 77), "PNG")).pixels[0, 0]) == (77, 77, 77)
    cmyk = load_image(encode(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")).pixels
    assert np.abs(cmyk[4, 4].astype(int) - RED).max() < 40
    deep = PIL.Image.fromarray(np.full((4, 4), 128 * 257, np.uint16))
    assert tuple(load_image(encode(deep, "PNG")).pixels[0, 0]) == (128, 128, 128)
    deep_tiff = PIL.Image.fromarray(np.full((4, 4), 65535, np.uint16))
    assert tuple(load_image(encode(deep_tiff, "TIFF")).pixels[0, 0]) == WHITE
    for value, expected in ((1.0, 255), (0.5, 128), (200.0, 200)):
        real = PIL.Image.fromarray(np.array([[value, 0.0]], np.float32))
        assert load_image(encode(real, "TIFF")).pixels[0, 0, 0] == expected


def test_the_first_frame_of_an_animation_is_used_with_a_note() -> None:
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        image = load_image(encode(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert tuple(image.pixels[4, 4]) == RED
        assert image.notes == ("first of 3 frames",)
    pages = load_image(encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    assert pages.notes == ("first of 3 pages",)


def test_large_images_are_reduced_with_a_note() -> None:
    image = load_image(encode(PIL.Image.new("RGB", (6000, 3000), "red"), "JPEG"))
    assert image.pixels.shape == (1024, 2048, 3)
    assert image.notes == ("reduced from 6000 x 3000 pixels",)
    assert load_image(encode(PIL.Image.new("L", (3000, 30)), "PNG")).notes == ()


def test_reducing_keeps_places_colours_and_transparency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_SIDE", 200)
    large = PIL.Image.new("RGBA", (990, 891), "blue")
    large.paste((*RED, 255), (0, 0, 495, 446))
    large.paste((0, 0, 0, 0), (495, 446, 990, 891))
    pixels = load_image(encode(large, "PNG")).pixels
    assert pixels.shape == (180, 200, 3)
    quarters = {(0, 0): RED, (0, 1): (0, 0, 255), (1, 0): (0, 0, 255), (1, 1): WHITE}
    for (row, column), colour in quarters.items():
        part = pixels[row * 95 : row * 95 + 85, column * 105 : column * 105 + 95]
        assert (part == colour).all()


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is read with the module resource")
def test_large_images_have_no_large_copies() -> None:
    code = (
        "import resource, sys; from models.core.images import load_image\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "data = sys.stdin.buffer.read(); before = peak(); load_image(data); print(peak() - before)"
    )
    data = encode(PIL.Image.new("RGBA", (5000, 5000), (9, 8, 7, 200)), "PNG", compress_level=1)
    run = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    decoded = 5000 * 5000 * 4 / 2**20
    assert int(run.stdout) < decoded + 80  # MB


def test_a_file_twenty_thousand_pixels_wide_is_read_when_it_is_narrow() -> None:
    image = load_image(encode(PIL.Image.new("RGB", (20_000, 20), "red"), "PNG"))
    assert image.pixels.shape == (2, 2048, 3)
    assert image.notes == ("reduced from 20000 x 20 pixels",)


def test_too_many_pixels_are_refused_from_the_header() -> None:
    message = refusal(png_header(20_000, 20_000), "huge.png")
    assert "huge.png" in message
    assert "smaller copy" in message
    message = refusal(png_header(10_000, 10_000), "large.png")
    assert "10000 x 10000" in message


def test_a_progressive_jpeg_has_the_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 500)
    monkeypatch.setattr(images, "MAX_JPEG_PIXELS", 1000)
    assert load_image(encode(corner_marked(), "JPEG")).pixels.shape == (20, 40, 3)
    assert "40 x 20" in refusal(encode(corner_marked(), "JPEG", progressive=True))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_cut_off_files_are_refused(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(PIL.Image.fromarray(noise), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: len(data) // 2])
    message = refusal(path)
    assert "cut.img" in message


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_cut_jpeg_is_read_as_far_as_it_goes(orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (160, 96, 3), dtype=np.uint8)
    whole = encode(PIL.Image.fromarray(noise), "JPEG", exif=exif)
    full, cut = load_image(whole), load_image(whole[: len(whole) * 6 // 10])
    assert cut.notes[0].startswith("cut off: about ")
    rows = cut.pixels.shape[0 if orientation == 1 else 1]
    assert 80 <= rows <= 120
    kept = full.pixels[: rows - 32] if orientation == 1 else full.pixels[:, -rows + 32 :]
    shown = cut.pixels[: rows - 32] if orientation == 1 else cut.pixels[:, -rows + 32 :]
    assert np.array_equal(shown, kept)


def test_a_jpeg_without_its_last_bytes_is_whole_but_for_its_last_rows() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 96, 3), dtype=np.uint8)
    whole = encode(PIL.Image.fromarray(noise), "JPEG")
    image = load_image(whole[:-2])
    assert (image.pixels.shape, image.notes) == ((160, 96, 3), ("cut off at its end",))


def test_a_cut_progressive_jpeg_is_blurred() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 96, 3), dtype=np.uint8)
    whole = encode(PIL.Image.fromarray(noise), "JPEG", progressive=True)
    image = load_image(whole[: len(whole) // 2])
    assert (image.pixels.shape, image.notes) == ((160, 96, 3), ("cut off: it is blurred",))


def test_a_jpeg_of_which_nothing_is_left_is_refused() -> None:
    whole = encode(corner_marked(), "JPEG")
    start = whole.index(b"\xff\xda")
    for length in (20, start - 4, start + 14):
        assert "damaged or cut off" in refusal(whole[:length])


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_photos_of_phones_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(encode(corner_marked().resize((80, 40)), kind, quality=95))
    image = load_image(path)
    assert (image.pixels.shape, image.notes) == ((40, 80, 3), ())
    assert np.abs(image.pixels[10, 10].astype(int) - RED).max() < 60


def test_the_main_one_of_several_images_of_a_heic_file_is_read_and_said(tmp_path: Path) -> None:
    import pillow_heif

    images = [PIL.Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    file = pillow_heif.from_pillow(images[0])
    for image in images[1:]:
        file.add_from_pillow(image)
    file.save(tmp_path / "burst.heic", primary_index=1)
    read = load_image(tmp_path / "burst.heic")
    assert read.pixels[32, 32].argmax() == 2
    assert read.notes == ("main one of 3 images",)


def test_a_heic_file_of_too_many_pixels_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(corner_marked(), "HEIF")
    monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 500)
    assert "40 x 20 pixels, more than the limit" in refusal(data)


def test_any_cut_or_flipped_byte_gives_an_image_or_one_sentence() -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    random = np.random.default_rng(2)
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "ICO", "AVIF", "HEIF"):
        data = encode(noise, kind)
        for _ in range(60):
            broken = bytearray(data)
            broken[random.integers(len(data))] ^= 1 << int(random.integers(8))
            try:
                load_image(bytes(broken[: random.integers(1, len(data) + 1)]))
            except UserError as error:
                assert str(error).endswith(".")


def test_refusals_of_what_is_no_image(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)
    assert "no file" in refusal(tmp_path / "absent.jpg")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert "empty" in refusal(empty)
    text = tmp_path / "letter.jpg"
    text.write_text("Dear reader,\nthis is not a photo.\n" * 40)
    assert "letter.jpg is not an image" in refusal(text)
    assert "is not an image" in refusal(b"\0" * 1000)
    assert "is not an image" in refusal(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    assert "git lfs pull" in refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    assert "SVG" in refusal(b'<?xml version="1.0"?>\n<svg width="9"></svg>')
    assert "web page" in refusal(b"\n<!DOCTYPE html><title>404</title>")
    assert "PDF" in refusal(b"%PDF-1.7\n")
    assert "ZIP" in refusal(b"PK\x03\x04" + b"\0" * 60)
    assert "PostScript" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    assert "cannot be read" in refusal(tmp_path / ("a" * 5000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "not an ordinary file" in refusal(pipe)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    corner_marked().save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "permissions" in refusal(path)


def test_files_over_the_byte_limit_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_FILE_BYTES + 1)
    assert "100 MB" in refusal(path)
