"""From pixels to what the vision tower reads. The one preprocessing, for training and for running.

An image is seen twice: as a whole, squashed to a square (nothing is lost, proportions are), and as its
centre square (proportions are right, the edges are lost). Colours get their own small description, because
a classifier's features hardly keep them. Knows nothing of files, of weights or of what the tower does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

SIDE = 260
"""Height and width of a view in pixels: EfficientNet-Lite2's native resolution."""

VIEWS = 2
"""Views an image: 0 is the squashed whole, 1 the centre square."""

LEVELS = 4
"""Levels a colour channel is reduced to in a histogram."""

COLOUR_BINS = 2 * LEVELS**3
"""Length of the colour description: one histogram of the whole, one of the middle."""

_MIDDLE = slice(SIDE // 4, 3 * SIDE // 4)


@dataclass(frozen=True)
class Prepared:
    """What the tower and the projector read of one image.

    views: float32 [2, 260, 260, 3], (x - 127) / 128, RGB.
    colour: float32 [128], two normalised 4x4x4 RGB histograms (see colour_histograms).
    """

    views: NDArray[np.float32]
    colour: NDArray[np.float32]


def prepare(pixels: NDArray[np.uint8]) -> Prepared:
    """Both views and the colours of RGB `pixels`, uint8 [height, width, 3]."""
    whole = squashed(pixels)
    return Prepared(
        views=normalise(np.stack([whole, centre_square(pixels)])),
        colour=colour_histograms(whole),
    )


def squashed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole image at 260x260, proportions not kept: uint8 [260, 260, 3]."""
    return _resize(pixels)


def centre_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square around the middle at 260x260: uint8 [260, 260, 3]."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return _resize(pixels[top : top + side, left : left + side])


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(x - 127) / 128, the scale that EfficientNet-Lite was trained with: float32, same shape."""
    return (pixels.astype(np.float32) - np.float32(127)) * np.float32(1 / 128)


def colour_histograms(view: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much of each of 64 colours a squashed view has: as a whole, then in its middle quarter.

    view: uint8 [260, 260, 3]. Returns float32 [128]; each half sums to 1. Bin = 16 r + 4 g + b with each
    channel reduced to 0..3. The middle is rows and columns 65 to 194.
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
