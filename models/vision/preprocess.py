"""Image preprocessing for the vision tower, in training and in inference.

The tower reads two views of an image: the whole image squashed to a square, which keeps the edges but not the
proportions, and the centre square, which keeps the proportions but not the edges. Colour histograms are computed
beside them, because the features of an ImageNet classifier hold little of the colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

SIDE = 260
"""Height and width of a view in pixels, the resolution that EfficientNet-Lite2 was trained at."""

VIEWS = 2
"""Views of an image: 0 is the whole image squashed, 1 the centre square."""

LEVELS = 4
"""Levels of a colour channel in a histogram."""

COLOUR_BINS = 2 * LEVELS**3
"""The length of both histograms together: of the whole view and of its middle."""

_MIDDLE = slice(SIDE // 4, 3 * SIDE // 4)


@dataclass(frozen=True)
class Prepared:
    """The inputs of the tower and the projector for one image.

    views: float32 [2, 260, 260, 3], (x - 127) / 128, RGB.
    colour: float32 [128], two normalised 4x4x4 RGB histograms (see colour_histograms).
    """

    views: NDArray[np.float32]
    colour: NDArray[np.float32]


def prepare(pixels: NDArray[np.uint8]) -> Prepared:
    """Prepare an image. pixels: RGB, uint8 [height, width, 3]."""
    whole = squashed(pixels)
    return Prepared(
        views=normalise(np.stack([whole, centre_square(pixels)])),
        colour=colour_histograms(whole),
    )


def squashed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole image resized without keeping its proportions, uint8 [260, 260, 3]."""
    return _resize(pixels)


def centre_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square around the middle, resized to uint8 [260, 260, 3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return _resize(pixels[top : top + side, left : left + side])


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(x - 127) / 128, as EfficientNet-Lite was trained: float32 in -0.99 .. 1, of the same shape."""
    return (pixels.astype(np.float32) - np.float32(127)) * np.float32(1 / 128)


def colour_histograms(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms over 64 colours: of the squashed view, then of its middle quarter.

    view: uint8 [260, 260, 3]. Returns float32 [128], in which each half sums to 1. A pixel's bin is
    16 r + 4 g + b, with each channel reduced to 0..3. The middle is rows and columns 65 to 194.
    """
    reduced = (view // (256 // LEVELS)).astype(np.int64)
    bins = (reduced[..., 0] * LEVELS + reduced[..., 1]) * LEVELS + reduced[..., 2]
    return np.concatenate([_histogram(bins), _histogram(bins[_MIDDLE, _MIDDLE])])


def _histogram(bins: NDArray[np.int64]) -> NDArray[np.float32]:
    counts = np.bincount(bins.reshape(-1), minlength=LEVELS**3)
    return (counts / bins.size).astype(np.float32)


def _resize(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC))
