"""Decodes an image file into upright RGB pixels.

Every format that Pillow decodes is accepted, and HEIC, recognised by content and not by the file's extension. Files may
be hostile, so sizes are checked from the header before a pixel is decoded. PDF and files of several pages are read by
models.documents, which comes back here for the pages of a TIFF file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import stat
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image

from models.core.errors import UserError
from models.core.files import LFS_POINTER
from models.core.image_pixels import least_size, orientation, reduced_rgb
from models.core.png_text import text_in
from models.core.types import Image

MAX_FILE_BYTES: Final = 100 * 2**20
"""Files larger than this are refused without being read."""

MAX_DECODED_PIXELS: Final = 50_000_000
"""Images with more pixels are refused. At 4 bytes per pixel, decoding takes at most 200 MB."""

MAX_JPEG_PIXELS: Final = 150_000_000
"""The same limit for a baseline JPEG, whose decoder reduces while it decodes and never holds all pixels."""

MAX_SIDE: Final = 2048
"""Longest side of the result in pixels. Small print stays legible and the pixels take less than 13 MB."""

MAX_FRAMES: Final = 10_000
"""Further pages of a TIFF file are left out."""

_SUBFILE_TAG: Final = 254  # of TIFF: 1 is a reduced copy, 4 a mask
_NO_PAGE: Final = 1 | 4
_UPRIGHT: Final = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}
_ANIMATIONS: Final = ("GIF", "PNG", "WEBP", "AVIF")
_PAGED: Final = ("TIFF", "PSD", "DCX")
_HEIC_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_READABLE: Final = "JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF, BMP, PDF and others"
_JPEG_END: Final = b"\xff\xd9"
_JPEG_BLOCK: Final = 16 * 16  # pixels, of which the first is made up where no data follow
_BEGINNINGS: Final = (
    (LFS_POINTER, "is a Git LFS pointer and not the image itself: run `git lfs pull`"),
    (b"<svg", "is an SVG drawing: save it as PNG"),
    (b"<!doctype html", "is a web page and not an image: save the image itself"),
    (b"<html", "is a web page and not an image: save the image itself"),
    (b"PK\x03\x04", "is a ZIP archive or an office document: take the image out, or save it as PDF"),
    (b"%PDF-", "is a PDF, and one image is needed here: save the page as PNG"),
)
"""How files begin that are taken for images by mistake, and what to say about each."""


def load_image(
    source: Path | str | bytes, name: str | None = None, *, longest: int | None = None, frame: int = 0
) -> Image:
    """Decode an image file, or the bytes of one.

    name: for messages; the default is the file's name, or "the image" for bytes. longest: pixels; None for MAX_SIDE.
    frame: of a file with several, from 0.
    Returns upright RGB pixels with at most `longest` pixels per side. Transparent parts become white. A note says when
    one of several frames was taken, and when a JPEG was cut off and only its upper part could be read. Raises UserError
    for anything that is not an image within the limits.
    """
    if isinstance(source, bytes):
        name, data = name or "the image", source
        check_length(len(data), name)
    else:
        path = Path(source)
        name, data = name or path.name, read_file(path)
    longest = longest or MAX_SIDE
    with warnings.catch_warnings():
        # Pillow warns about damaged metadata, and about a size limit of its own. Ours are lower.
        warnings.simplefilter("ignore")
        opened = _open(data, name, frame)
        notes = [note for note in (_frames_note(opened, frame), _size_note(opened, longest)) if note]
        picture = _decode(opened, longest)
        if picture is None and opened.format == "JPEG":
            picture, note = _decode_cut(data, name, longest)
            notes.append(note)
    if picture is None:
        raise UserError(f"{name} is a damaged or cut off {opened.format} image: get a fresh copy of it.")
    return Image(
        pixels=np.asarray(picture),
        digest=hashlib.sha256(data).hexdigest(),
        name=name,
        notes=tuple(notes),
        text=text_in(opened),
    )


def pages_in(data: bytes, name: str) -> tuple[int, ...]:
    """The frames of an image file that are pages of a document, from 0; (0,) for a file of one image.

    Of the formats only TIFF has pages. Its thumbnails, reduced copies and masks are left out. Raises UserError for
    anything that is not an image.
    """
    check_length(len(data), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = _open(data, name, 0)
        if opened.format != "TIFF":
            return (0,)
        found = []
        try:
            for number in range(min(getattr(opened, "n_frames", 1), MAX_FRAMES)):
                opened.seek(number)
                if not int(opened.tag_v2.get(_SUBFILE_TAG, 0)) & _NO_PAGE:  # type: ignore[attr-defined]  # TIFF
                    found.append(number)
        except Exception:  # pages after a damaged one are lost
            pass
    return tuple(found) or (0,)


def read_file(path: Path) -> bytes:
    """The bytes of an ordinary file within the limit of size. Raises UserError."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder: give the path of one image in it.")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not an ordinary file: copy the image into one first.")
        check_length(status.st_size, str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: check the name and the folder.") from None
    except PermissionError:
        raise UserError(f"{path} may not be read: check its permissions.") from None
    except (OSError, ValueError) as error:  # a name that is too long or has a NUL, a failing disk
        raise UserError(f"{shortened(str(path))} cannot be read: {_reason(error)}.") from error


def shortened(name: str, longest: int = 80) -> str:
    """A name for a message, on one line, with its middle left out when it is long."""
    name = repr(name)[1:-1] if not name.isprintable() else name
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[-longest // 4 :]}"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "the name is too long for a file"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).lower()


def check_length(length: int, name: str) -> None:
    """Raise UserError for a file without content or above MAX_FILE_BYTES."""
    if length == 0:
        raise UserError(f"{name} is empty: there is no image in it.")
    if length > MAX_FILE_BYTES:
        raise UserError(
            f"{name} has {length / 2**20:.0f} MB, more than the limit of {MAX_FILE_BYTES >> 20} MB: "
            "save a smaller copy."
        )


def _open(data: bytes, name: str, frame: int) -> PIL.Image.Image:
    """Open an image and read its header alone. Raises UserError when it is none that can be read within the limits."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    try:
        opened = PIL.Image.open(io.BytesIO(data))
        if frame:
            opened.seek(frame)
    except PIL.Image.DecompressionBombError:
        raise UserError(
            f"{name} has more than {MAX_JPEG_PIXELS / 1e6:.0f} million pixels: save a smaller copy."
        ) from None
    except Exception as error:  # decoders raise exceptions of any type on damaged bytes
        raise UserError(f"{name} {_what(data)}.") from error
    if opened.format == "EPS":  # Pillow would run the program Ghostscript on the file
        raise UserError(f"{name} is a PostScript drawing: save it as PNG.")
    _check_pixels(opened, name)
    return opened


def _what(data: bytes) -> str:
    """What a file is that is no image, and what to do."""
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = head.lower()
    for beginning, words in _BEGINNINGS:
        if lower.startswith(beginning.lower()):
            return words
    if lower.startswith(b"<?xml") and b"<svg" in lower:
        return "is an SVG drawing: save it as PNG"
    if data.startswith(b"\xff\xd8\xff") or data.startswith(b"\x89PNG"):
        return "is a damaged or cut off image, of which nothing can be read: get a fresh copy of it"
    return f"is not an image that can be read ({_READABLE})"


def _check_pixels(opened: PIL.Image.Image, name: str) -> None:
    """Raise UserError when an image has no pixels or too many to decode."""
    width, height = opened.size
    reducible = opened.format == "JPEG" and not opened.info.get("progressive")
    limit = MAX_JPEG_PIXELS if reducible else MAX_DECODED_PIXELS
    if width * height > limit:
        raise UserError(
            f"{name} is {width} x {height} pixels, more than the limit of {limit / 1e6:.0f} million: "
            "save a smaller copy."
        )
    if width < 1 or height < 1:
        raise UserError(f"{name} has no pixels: it is {width} x {height}.")


def _frames_note(opened: PIL.Image.Image, frame: int) -> str | None:
    """A note when one of several frames, pages or images is used."""
    if opened.format == "HEIF":
        images: int = getattr(
            opened, "n_frames", 1
        )  # as a burst or an editor saves them; the main one is opened
        return f"main one of {images} images" if images > 1 else None
    if opened.format not in (*_ANIMATIONS, *_PAGED):
        return None  # the further frames of a phone's multi-picture JPEG are previews
    try:
        frames: int = getattr(opened, "n_frames", 1)
        opened.seek(frame)
    except Exception:  # a damaged later frame does not matter: only one is used
        return None
    if frames <= 1 or frame:
        return None
    return f"first of {frames} {'frames' if opened.format in _ANIMATIONS else 'pages'}"


def _size_note(opened: PIL.Image.Image, longest: int) -> str | None:
    """A note when the image is reduced to less than a half, where small print may become illegible."""
    if max(opened.size) <= 2 * longest:
        return None
    width, height = opened.size
    return f"reduced from {width} x {height} pixels"


def _decode(opened: PIL.Image.Image, longest: int) -> PIL.Image.Image | None:
    """Decode, convert to RGB, reduce, and turn upright; None for damaged bytes."""
    if opened.format == "JPEG":
        opened.draft(None, least_size(opened.size, longest))
    try:
        opened.load()
        picture = reduced_rgb(opened, longest)
    except Exception:  # decoders raise exceptions of any type on damaged bytes
        return None
    return _upright(picture, opened)


def _upright(picture: PIL.Image.Image, opened: PIL.Image.Image) -> PIL.Image.Image:
    turn = _UPRIGHT.get(orientation(opened))
    return picture if turn is None else picture.transpose(turn)


def _decode_cut(data: bytes, name: str, longest: int) -> tuple[PIL.Image.Image | None, str]:
    """The part of a JPEG that is there when its end is missing, and a note; None when nothing is left.

    With an end mark after the cut, the decoder fills the rest with one colour. A progressive JPEG has its whole picture
    in each of its parts, so that a cut one is blurred. Of a baseline JPEG the rows are kept down to the last that
    differs from the filling.
    """
    opened = _open(data + _JPEG_END, name, 0)
    progressive = bool(opened.info.get("progressive"))
    opened.draft(None, least_size(opened.size, longest))
    try:
        opened.load()
    except Exception:  # cut within the headers, or damaged in another way
        return None, ""
    pixels = np.asarray(opened)
    height = pixels.shape[0]
    differs = np.any(pixels != pixels[-1, -1], axis=2) if pixels.ndim > 2 else pixels != pixels[-1, -1]
    if np.count_nonzero(differs) <= _JPEG_BLOCK:
        return None, ""
    rows = height if progressive else int(height - np.argmax(differs.any(axis=1)[::-1]))
    picture = _upright(reduced_rgb(opened.crop((0, 0, opened.width, rows)), longest), opened)
    missing = 100 * (height - rows) / height
    lost = "it is blurred" if progressive else f"about {missing:.0f}% of it is missing"
    return picture, f"cut off: {lost}" if progressive or missing >= 1 else "cut off at its end"
