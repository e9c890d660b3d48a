"""Pixels of opened images as upright RGB of 8 bits, reduced to a longest side."""

from __future__ import annotations

from typing import Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

_STRIP_ROWS: Final = 64  # rows of the reduced image that are converted at a time

_ORIENTATION_TAG: Final = 0x0112


def reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(width, height) in pixels, with a longest side of at most `longest`; never larger than the image."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def least_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The least size that the JPEG decoder may reduce to.

    3/4 of `longest` is good enough, and a phone's photo of 4000 x 3000 pixels is then decoded in a third of the time.
    """
    width, height = reduced_size(size, longest)
    return (max(1, width * 3 // 4), max(1, height * 3 // 4)) if max(size) > longest else size


def reduced_rgb(image: PIL.Image.Image, longest: int) -> PIL.Image.Image:
    """RGB on white with at most `longest` pixels per side.

    Converts strip by strip, to make no copy of a large image.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = PIL.Image.fromarray(_eight_bits(np.asarray(image)))
    width, height = image.size
    size = reduced_size(image.size, longest)
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


def orientation(image: PIL.Image.Image) -> int:
    """The EXIF tag Orientation, 1 to 8; 1 (upright) without one."""
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
