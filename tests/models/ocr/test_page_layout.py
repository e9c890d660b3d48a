"""Lines come in reading order, and a page that is there to be read is told from a photo with some text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.types import TextLine
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.prompt_text import as_prompt_lines


def line(text: str, left: float, top: float, width: float = 0.1, height: float = 0.02) -> TextLine:
    return TextLine(text, 0.9, (left, top, left + width, top + height))


RECEIPT = [
    line("ACME SDN BHD", 0.3, 0.02, 0.4),
    line("Tax Invoice", 0.35, 0.06, 0.3),
    line("Milk", 0.05, 0.12),
    line("2", 0.4, 0.123),
    line("3.10", 0.8, 0.118),
    line("Bread", 0.05, 0.16),
    line("1", 0.4, 0.161),
    line("2.40", 0.8, 0.158),
    line("TOTAL", 0.05, 0.22, 0.2, 0.03),
    line("8.60", 0.8, 0.225),
]
IN_ORDER = "ACME SDN BHD\nTax Invoice\nMilk 2 3.10\nBread 1 2.40\nTOTAL 8.60"


@pytest.mark.parametrize("seed", range(5))
def test_rows_run_downwards_and_their_items_rightwards(seed: int) -> None:
    shuffled = random.Random(seed).sample(RECEIPT, len(RECEIPT))
    assert in_reading_order(shuffled) == tuple(RECEIPT)
    assert as_prompt_lines(PageText(tuple(shuffled))) == IN_ORDER


@pytest.mark.parametrize("slope", [-0.03, 0.03])
def test_rows_follow_a_tilted_page(slope: float) -> None:
    """Over the width the tilt is more than a line's height, between neighbours it is less."""
    columns = (0.0, 0.2, 0.4, 0.6, 0.8)
    tilted = [
        line(f"r{row}{column}", x, 0.1 + 0.03 * row + slope * x)
        for row in range(3)
        for column, x in enumerate(columns)
    ]
    random.Random(0).shuffle(tilted)
    assert (
        as_prompt_lines(PageText(tuple(tilted)))
        == "r00 r01 r02 r03 r04\nr10 r11 r12 r13 r14\nr20 r21 r22 r23 r24"
    )


def test_large_print_beside_small_print_is_one_row_and_above_it_another() -> None:
    beside = [line("TOTAL", 0.1, 0.50, 0.2, 0.06), line("RM", 0.4, 0.52, 0.05, 0.02)]
    above = [line("BIG", 0.1, 0.50, 0.2, 0.03), line("small", 0.1, 0.515, 0.2, 0.03)]
    assert as_prompt_lines(PageText(tuple(beside))) == "TOTAL RM"
    assert as_prompt_lines(PageText(tuple(above))) == "BIG\nsmall"


boxes = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
pages = st.lists(st.builds(TextLine, st.text(max_size=20), st.floats(0, 1), boxes), max_size=30)


@given(pages)
def test_any_layout_keeps_every_line_once(lines: list[TextLine]) -> None:
    ordered = in_reading_order(lines)
    assert sorted(ordered, key=repr) == sorted(lines, key=repr)


@pytest.mark.parametrize(
    ("lines", "is_document"),
    [
        (RECEIPT, True),
        (RECEIPT[:3], False),
        ([], False),
        ([line(str(n), 0.1, n / 10, 0.02, 0.01) for n in range(8)], False),
        ([TextLine(a.text, 0.6, a.box) for a in RECEIPT], False),
    ],
)
def test_a_document_has_several_lines_that_cover_some_of_it_and_are_legible(
    lines: list[TextLine], is_document: bool
) -> None:
    assert PageText(tuple(lines)).looks_like_document is is_document


def test_probability_is_a_mean_over_characters() -> None:
    page = PageText((TextLine("abc", 1.0, (0, 0, 1, 1)), TextLine("d", 0.6, (0, 0, 1, 1))))
    assert page.probability == pytest.approx(0.9)
    assert PageText(()).probability == 0
