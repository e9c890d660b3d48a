"""Pages are turned for the benchmark with all of the page kept."""

from __future__ import annotations

import numpy as np

from benchmarks.quality.pages.tilted_pages import TABLE_TOP, turned
from models.core.types import Image

PAGE = Image(np.full((40, 20, 3), 255, np.uint8), "page", "page")


def test_a_turned_page_is_kept_whole_with_the_table_top_around_it() -> None:
    tilted = turned(PAGE, 45).pixels
    assert tilted.shape[0] > 40
    assert tuple(tilted[0, 0]) == TABLE_TOP
    assert tuple(tilted[tilted.shape[0] // 2, tilted.shape[1] // 2]) == (255, 255, 255)
    assert turned(PAGE, 90).pixels.shape == (20, 40, 3)


def test_an_upright_page_keeps_its_pixels_and_each_angle_has_a_digest_of_its_own() -> None:
    assert np.array_equal(turned(PAGE, 0).pixels, PAGE.pixels)
    assert len({turned(PAGE, angle).digest for angle in (0, 5, -5)}) == 3
