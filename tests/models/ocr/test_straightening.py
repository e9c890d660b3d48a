"""A page is set straight by the angle of its lines, and charts with vertical labels are left as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.core.types import TextLine
from models.ocr.page_layout import rows
from models.ocr.straightening import LEAST_TILT, boxes_of, lies_sideways, straight_boxes, tilt

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


def dense_page() -> np.ndarray:
    """Twenty rows of four cells, little higher than their letters; the last cell is far from the first."""
    cells = ((20, 110), (130, 210), (300, 360), (430, 490))
    boxes = [(left, y, right, y + 18) for y in range(80, 640, 28) for left, right in cells]
    return np.array([[(x, y), (right, y), (right, low), (x, low)] for x, y, right, low in boxes], float)


def rows_of(corners: np.ndarray) -> list[list[str]]:
    lines = [
        TextLine(f"{number // 4}", 0.9, box)
        for number, box in enumerate(straight_boxes(corners, WIDTH, HEIGHT))
    ]
    return [[line.text for line in row] for row in rows(lines)]


IN_ROWS = [[f"{number}"] * 4 for number in range(20)]


@pytest.mark.parametrize("angle", [-12, -3, -2.7, -2, -1.5, -1, 0, 1, 1.5, 2, 2.7, 3, 12])
def test_the_cells_of_dense_rows_stay_together_at_every_tilt(angle: float) -> None:
    assert rows_of(turned(dense_page(), angle).round()) == IN_ROWS


@pytest.mark.parametrize("top, bottom", [(-2.0, 2.0), (2.0, -2.0), (0.5, 3.5), (-4.0, -1.0)])
def test_rows_whose_angle_changes_down_the_page_are_put_in_line(top: float, bottom: float) -> None:
    corners = dense_page()
    angle = top + (bottom - top) * corners[..., 1] / HEIGHT
    corners[..., 1] += np.tan(np.radians(angle)) * (corners[..., 0] - WIDTH / 2)
    assert rows_of(corners.round()) == IN_ROWS


def test_words_whose_boxes_alone_are_tilted_leave_a_straight_page_as_it_is() -> None:
    corners = dense_page()
    corners[:, 1:3, 1] += 3  # the right ends, as of words with a tall first letter and a deep last one
    assert straight_boxes(corners, WIDTH, HEIGHT) == boxes_of(corners, 0.0, WIDTH, HEIGHT)


def test_lines_below_each_other_alone_keep_their_boxes() -> None:
    corners = turned(dense_page()[::4], 1.5)
    assert straight_boxes(corners, WIDTH, HEIGHT) == boxes_of(corners, 0.0, WIDTH, HEIGHT)
