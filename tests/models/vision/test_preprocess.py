"""The two views and the colour description of an image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.vision.preprocess import centre_square, colour_histograms, normalise, prepare, squashed


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """Left third red, middle third green, right third blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for channel, part in enumerate(np.array_split(np.arange(width), 3)):
        pixels[:, part, channel] = 255
    return pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (333, 100), (260, 260), (2048, 1000)])
def test_any_size_gives_two_views(size: tuple[int, int]) -> None:
    prepared = prepare(stripes(*size))
    assert prepared.views.shape == (2, 260, 260, 3)
    assert prepared.views.dtype == np.float32
    assert prepared.views.min() >= -127 / 128
    assert prepared.views.max() <= 1
    assert prepared.colour.shape == (128,)


def test_the_first_view_is_the_whole_and_the_second_the_centre() -> None:
    pixels = stripes(100, 300)
    whole, centre = prepare(pixels).views
    row = [tuple(np.round(whole[130, column] * 128 + 127).astype(int)) for column in (10, 130, 250)]
    assert row == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert np.array_equal(centre, normalise(np.full((260, 260, 3), (0, 255, 0), np.uint8)))
    tall = pixels.transpose(1, 0, 2)
    assert np.array_equal(centre_square(tall), np.full((260, 260, 3), (0, 255, 0), np.uint8))


def test_an_image_of_the_tower_s_own_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (260, 260, 3), dtype=np.uint8)
    assert np.array_equal(squashed(pixels), pixels)
    assert np.array_equal(centre_square(pixels), pixels)


def test_normalised_values_are_exact() -> None:
    pixels = np.array([[[0, 127, 255]]], np.uint8)
    assert normalise(pixels).tolist() == [[[-127 / 128, 0.0, 1.0]]]


def test_reading_does_not_change_the_pixels() -> None:
    pixels = stripes(50, 70)
    before = pixels.copy()
    pixels.flags.writeable = False
    prepare(pixels)
    assert np.array_equal(pixels, before)


def test_colours_are_counted_as_a_whole_and_in_the_middle() -> None:
    view = np.full((260, 260, 3), 255, np.uint8)  # white: bin 63
    view[65:195, 65:195] = (200, 100, 10)  # 3, 1, 0: bin 52
    view[65, 65] = 0  # black: bin 0
    whole, middle = colour_histograms(view).reshape(2, 64)
    assert whole[63] == pytest.approx(0.75)
    assert whole[52] == pytest.approx(0.25 - 1 / 260**2)
    assert middle[52] == pytest.approx(1 - 1 / 130**2)
    assert middle[0] == pytest.approx(1 / 130**2)
    assert middle[63] == 0
    assert whole.sum() == pytest.approx(1)
    assert middle.sum() == pytest.approx(1)
