"""Right words are counted once for each time they were written, and the logistic line is recovered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.pages.read_text import ReadShare, fitted, right_words, table, worse
from models.core.types import Image


def test_a_word_is_right_as_often_as_it_was_written() -> None:
    assert right_words(["total", "9", "9", "cash"], ["cash", "9", "total", "total"]) == 3


def test_the_line_is_recovered_from_shares_on_it() -> None:
    pages = []
    for recognition in (0.6, 0.8, 0.9, 0.97, 0.99):
        logit = -1.5 + 0.7 * math.log(recognition / (1 - recognition))
        pages.append(ReadShare("noise", recognition, 10**6, round(10**6 / (1 + math.exp(-logit)))))
    assert fitted(pages) == pytest.approx((-1.5, 0.7), abs=1e-3)
    assert "noise          5" in table(pages, fitted(pages))


def test_a_worse_copy_is_another_image_of_the_same_size_and_the_same_every_time() -> None:
    image = Image(np.full((20, 30, 3), 128, np.uint8), "a", "a.png")
    copy = worse(image, 20.0, 1.0, 3)
    assert copy.pixels.shape == image.pixels.shape and copy.pixels.dtype == np.uint8
    assert copy.digest != image.digest and copy.pixels.std() > 5
    assert np.array_equal(copy.pixels, worse(image, 20.0, 1.0, 3).pixels)
