"""Decodes an image file into upright RGB pixels.

Every format that Pillow decodes is accepted, recognised by content and not by the file's extension. Files may be
hostile, so sizes are checked from the header before a pixel is decoded.
"""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.types import Image

MAX_FILE_BYTES: Final = 100 * 2**20
"""Files larger than this are refused without being read."""

MAX_DECODED_PIXELS: Final = 50_000_000
"""Images with more pixels are refused. At 4 bytes per pixel, decoding takes at most 200 MB."""

MAX_JPEG_PIXELS: Final = 150_000_000
"""The same limit for a baseline JPEG, whose decoder reduces while it decodes and never holds all pixels."""

MAX_SIDE: Final = 2048
"""Longest side of the result in pixels. Small print stays legible and the pixels take less than 13 MB."""

_STRIP_ROWS: Final = 64  # rows of the reduced image that are converted at a time
_ORIENTATION_TAG: Final = 0x0112
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
_HEIC_BRANDS: Final = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_READABLE: Final = "JPEG, PNG, WebP, GIF, TIFF, BMP and others"


def load_image(source: Path | str | bytes, name: str | None = None, *, longest: int | None = None) -> Image:
    """Decode an image file, or the bytes of one.

    name: for messages; the default is the file's name, or "the image" for bytes. longest: pixels; None for MAX_SIDE.
    Returns upright RGB pixels with at most `longest` pixels per side. Transparent parts become white. Of several
    frames the first is taken, and a note says so. Raises UserError for anything that is not an image within the
    limits.
    """
    if isinstance(source, bytes):
        name, data = name or "the image", source
        _check_length(len(data), name)
    else:
        path = Path(source).expanduser()
        name, data = name or path.name, _read(path)
    longest = longest or MAX_SIDE
    with warnings.catch_warnings():
        # Pillow warns about damaged metadata, and about a size limit of its own. Ours are lower.
        warnings.simplefilter("ignore")
        opened = _open(data, name)
        _check_pixels(opened, name)
        notes = [note for note in (_frames_note(opened), _size_note(opened, longest)) if note]
        if opened.format == "JPEG":
            opened.draft(None, _least_size(opened.size, longest))
        picture = _decode(opened, name, longest)
    return Image(
        pixels=np.asarray(picture),
        digest=hashlib.sha256(data).hexdigest(),
        name=name,
        notes=tuple(notes),
    )


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{path} is a folder: give the path of one image in it.")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is not an ordinary file: copy the image into one first.")
        _check_length(status.st_size, str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: check the name and the folder.") from None
    except PermissionError:
        raise UserError(f"{path} may not be read: check its permissions.") from None
    except (OSError, ValueError) as error:  # a name that is too long or has a NUL, a failing disk
        raise UserError(f"{str(path)!r} cannot be read: {error}.") from error


def _check_length(length: int, name: str) -> None:
    if length == 0:
        raise UserError(f"{name} is empty: there is no image in it.")
    if length > MAX_FILE_BYTES:
        raise UserError(
            f"{name} has {length / 2**20:.0f} MB, more than the limit of {MAX_FILE_BYTES >> 20} MB: "
            "save a smaller copy."
        )


def _open(data: bytes, name: str) -> PIL.Image.Image:
    """Open an image and read its header alone. Raises UserError when the format is not supported."""
    try:
        opened = PIL.Image.open(io.BytesIO(data))
    except PIL.Image.DecompressionBombError:
        raise UserError(
            f"{name} has more than {MAX_JPEG_PIXELS / 1e6:.0f} million pixels: save a smaller copy."
        ) from None
    except Exception as error:  # decoders raise exceptions of any type on damaged bytes
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
            raise UserError(f"{name} is an HEIC image, which cannot be read: save it as JPEG.") from None
        raise UserError(f"{name} is not an image that can be read ({_READABLE}).") from error
    if opened.format == "EPS":  # Pillow would run the program Ghostscript on the file
        raise UserError(f"{name} is a PostScript drawing: save it as PNG.")
    return opened


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


def _frames_note(opened: PIL.Image.Image) -> str | None:
    """A note when only the first of several frames or pages is used."""
    if opened.format not in (*_ANIMATIONS, *_PAGED):
        return None  # the further frames of a phone's multi-picture JPEG are previews
    try:
        frames: int = getattr(opened, "n_frames", 1)
        opened.seek(0)
    except Exception:  # a damaged later frame does not matter: only the first is used
        return None
    if frames <= 1:
        return None
    return f"first of {frames} {'frames' if opened.format in _ANIMATIONS else 'pages'}"


def _size_note(opened: PIL.Image.Image, longest: int) -> str | None:
    """A note when the image is reduced to less than a half, where small print may become illegible."""
    if max(opened.size) <= 2 * longest:
        return None
    width, height = opened.size
    return f"reduced from {width} x {height} pixels"


def _reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _least_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The least size that the JPEG decoder may reduce to.

    3/4 of `longest` is good enough, and a phone's photo of 4000 x 3000 pixels is then decoded in a third of the time.
    """
    width, height = _reduced_size(size, longest)
    return (max(1, width * 3 // 4), max(1, height * 3 // 4)) if max(size) > longest else size


def _decode(opened: PIL.Image.Image, name: str, longest: int) -> PIL.Image.Image:
    """Decode, convert to RGB, reduce, and turn upright."""
    try:
        opened.load()
        picture = _reduced_rgb(opened, longest)
    except Exception as error:  # decoders raise exceptions of any type on damaged bytes
        raise UserError(
            f"{name} is a damaged or cut off {opened.format} image: get a fresh copy of it."
        ) from error
    turn = _UPRIGHT.get(_orientation(opened))
    return picture if turn is None else picture.transpose(turn)


def _reduced_rgb(image: PIL.Image.Image, longest: int) -> PIL.Image.Image:
    """RGB on white with at most `longest` pixels per side.

    Converts strip by strip, to make no copy of a large image.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = PIL.Image.fromarray(_eight_bits(np.asarray(image)))
    width, height = image.size
    size = _reduced_size(image.size, longest)
    factor = max(image.size) // longest
    if factor < 2:
        picture = _rgb(image)
    else:
        picture = PIL.Image.new("RGB", (-(-width // factor), -(-height // factor)))
        step = factor * _STRIP_ROWS
        for top in range(0, height, step):
            strip = _rgb(image.crop((0, top, width, min(top + step, height))))
            picture.paste(strip.reduce(factor), (0, top // factor))
    return picture if picture.size == size else picture.resize(size, PIL.Image.Resampling.BICUBIC)


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # an image with damaged metadata is still decoded
        return 1


def _rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """RGB on white, from any mode of Pillow with 8 bits per channel."""
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        above = image.convert("RGBA")
        white = PIL.Image.new("RGBA", above.size, "white")
        white.alpha_composite(above)
        return white.convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Map grey values [height, width] of 16 or 32 bits, or of floating point, to 0..255.

    16-bit values are scaled from 0..65535. The other types do not say which value is white, so the scale is the
    narrowest of 0..1 (floating point only), 0..255 and 0..65535 that holds all values, or else their own range.
    NaN and infinities become 0.
    """
    grey: NDArray[np.float32] = np.nan_to_num(values.astype(np.float32), posinf=0, neginf=0)
    low, high = float(grey.min()), float(grey.max())
    if values.dtype.itemsize == 2:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 65535:
        scales = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
        low, high = 0.0, next(scale for scale in scales if high <= scale)
    scaled: NDArray[np.float32] = (grey - low) * np.float32(255 / max(high - low, 1e-12))
    return np.rint(scaled).astype(np.uint8)
