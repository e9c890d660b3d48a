"""A page is set straight by the angle of its lines, and charts with vertical labels are left as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.core.types import TextLine
from models.ocr.page_layout import rows
from models.ocr.straightening import LEAST_TILT, boxes_of, lies_sideways, tilt

WIDTH, HEIGHT = 500, 800
ROWS = [(name, y) for name, y in zip("abcdefghij", range(100, 700, 60), strict=True)]


def page(angle: float = 0.0) -> np.ndarray:
    """Ten rows with a label at the left and a price at the right, turned clockwise about the middle."""
    boxes = [(left, y, right, y + 24) for _, y in ROWS for left, right in ((40, 200), (380, 460))]
    return turned(
        np.array([[(x, y), (right, y), (right, low), (x, low)] for x, y, right, low in boxes], float), angle
    )


def turned(corners: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return (corners - (WIDTH / 2, HEIGHT / 2)) @ np.array([[cosine, sine], [-sine, cosine]]) + (
        WIDTH / 2,
        HEIGHT / 2,
    )


def lines_of(corners: np.ndarray, angle: float) -> list[TextLine]:
    texts = [text for name, _ in ROWS for text in (name, f"{name} price")]
    return [
        TextLine(text, 0.9, box)
        for text, box in zip(texts, boxes_of(corners, angle, WIDTH, HEIGHT), strict=True)
    ]


@pytest.mark.parametrize("angle", [-40, -12, -8, -5, -3, 3, 5, 8, 12, 40])
def test_each_price_of_a_tilted_page_is_in_the_row_of_its_label(angle: float) -> None:
    corners = page(angle)
    assert tilt(corners) == pytest.approx(angle, abs=0.1)
    texts = [[line.text for line in row] for row in rows(lines_of(corners, tilt(corners)))]
    assert texts == [[name, f"{name} price"] for name, _ in ROWS]


def test_without_straightening_they_are_not() -> None:
    texts = [[line.text for line in row] for row in rows(lines_of(page(8), 0.0))]
    assert texts != [[name, f"{name} price"] for name, _ in ROWS]


@pytest.mark.parametrize("angle", [0, 0.5, -1, 1.9, -1.9])
def test_a_page_that_is_nearly_straight_keeps_its_boxes(angle: float) -> None:
    assert abs(angle) < LEAST_TILT
    assert tilt(page(angle)) == 0
    corners = page()
    low, high = (corners / (WIDTH, HEIGHT)).min(axis=1), (corners / (WIDTH, HEIGHT)).max(axis=1)
    assert boxes_of(corners, tilt(corners), WIDTH, HEIGHT) == [
        (*a, *b) for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]


def test_short_words_whose_boxes_lean_the_same_way_do_not_tilt_a_page() -> None:
    boxes = [(30, y, 30 + 55, y + 21) for _, y in ROWS]
    corners = np.array([[(x, y), (r, y + 3), (r, low + 3), (x, low)] for x, y, r, low in boxes], float)
    assert tilt(corners) == 0.0


def test_a_page_on_its_side_is_told_from_a_chart_with_vertical_labels() -> None:
    assert lies_sideways(page(90))
    assert lies_sideways(page(-90))
    assert not lies_sideways(page())
    chart = np.concatenate([page()[:8], page(90)])  # a third of the lines run across
    assert not lies_sideways(chart)
    assert tilt(chart) == 0


def test_lines_in_all_directions_have_no_angle() -> None:
    scattered = np.concatenate([page(angle)[:4] for angle in (-30, -10, 10, 30)])
    assert tilt(scattered) == 0


def test_a_page_without_lines_is_straight() -> None:
    nothing = np.zeros((0, 4, 2))
    assert tilt(nothing) == 0
    assert not lies_sideways(nothing)
    assert boxes_of(nothing, 0.0, 1, 1) == []
