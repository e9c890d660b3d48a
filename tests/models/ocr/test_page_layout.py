"""Lines come in reading order and go into prompts row by row, within the limit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ocr.page_layout import LEFT_OUT, PageText, as_prompt_lines, in_reading_order
from models.ocr.text_line import TextLine


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


def test_white_space_and_line_ends_inside_a_line_become_single_spaces() -> None:
    assert as_prompt_lines(PageText((line(" a \n - b\t", 0, 0), line(" ", 0.5, 0.5)))) == "a b"


boxes = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
pages = st.lists(st.builds(TextLine, st.text(max_size=20), st.floats(0, 1), boxes), max_size=30)


@given(pages)
def test_any_layout_keeps_every_line_once(lines: list[TextLine]) -> None:
    ordered = in_reading_order(lines)
    assert sorted(ordered, key=repr) == sorted(lines, key=repr)


@given(pages, st.integers(10, 200))
def test_text_in_prompts_keeps_to_its_limit(lines: list[TextLine], limit: int) -> None:
    text = as_prompt_lines(PageText(in_reading_order(lines)), limit)
    assert len(text) <= limit
    assert "\n\n" not in text


def test_what_does_not_fit_is_left_out_of_the_middle() -> None:
    page = PageText(tuple(line(f"row {number:02}", 0, number / 100) for number in range(30)))
    text = as_prompt_lines(page, 47)

    kept = text.split("\n")
    assert kept[0] == "row 00"
    assert kept[-1] == "row 29"
    assert kept.count(LEFT_OUT) == 1


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


def centred(text: str, x: float, y: float, width: float = 0.06) -> TextLine:
    return TextLine(text, 0.9, (x - width / 2, y - 0.02, x + width / 2, y + 0.02))


AXIS = [
    TextLine(text, 0.9, (0.02, y - 0.02, 0.06, y + 0.02))
    for text, y in (("0", 0.8), ("20", 0.6), ("60", 0.2))
]
LABELS = [centred(text, x, 0.88) for text, x in (("Apples", 0.2), ("Pears", 0.45), ("Plums", 0.7))]
VALUES = [centred("55", 0.2, 0.24), centred("7", 0.45, 0.72), centred("21", 0.7, 0.58)]


def test_numbers_over_bars_go_to_their_labels_and_the_axis_becomes_a_row() -> None:
    chart = [centred("Sales", 0.5, 0.05), *AXIS, *VALUES, *LABELS]
    assert as_prompt_lines(PageText(tuple(chart))) == (
        "Sales\n0 20 60\nApples 55\nPears 7\nPlums 21\nApples 1, Plums 2, Pears 3"
    )


def test_grouped_bars_keep_their_order_and_a_legend_at_the_side_stays() -> None:
    second = [centred("33", 0.28, 0.42), centred("9", 0.53, 0.7), centred("50", 0.78, 0.3)]
    chart = [*AXIS, *VALUES, *second, *LABELS, centred("Shop", 0.95, 0.3)]
    assert as_prompt_lines(PageText(tuple(chart))) == (
        "Shop\n0 20 60\nApples 55 33\nPears 7 9\nPlums 21 50\nApples 1, Plums 2, Pears 3"
    )


def test_bars_without_printed_numbers_have_an_axis_and_labels() -> None:
    assert as_prompt_lines(PageText((*AXIS, *LABELS))) == "0 20 60\nApples Pears Plums"


def test_labels_that_were_read_as_one_line_are_told_apart() -> None:
    merged = [LABELS[0], TextLine("Pears Plums Grape", 0.9, (0.373, 0.86, 1.027, 0.9))]
    numbers = [*VALUES, centred("30", 0.93, 0.5)]
    assert as_prompt_lines(PageText((*AXIS, *numbers, *merged))) == (
        "0 20 60\nApples 55\nPears 7\nPlums 21\nGrape 30\nApples 1, Grape 2, Plums 3, Pears 4"
    )


def test_marks_beside_ticks_and_lines_without_letters_do_not_matter() -> None:
    marked = [TextLine(f"{tick.text} –", 0.9, tick.box) for tick in AXIS]
    page = PageText((*marked, centred("—", 0.1, 0.6), *VALUES, *LABELS))
    assert as_prompt_lines(page) == "0 20 60\nApples 55\nPears 7\nPlums 21\nApples 1, Plums 2, Pears 3"


def test_numbers_beside_horizontal_bars_stay_in_the_row_of_their_label() -> None:
    bars = [
        TextLine(text, 0.9, (0.02, y, 0.15, y + 0.04))
        for text, y in (("Apples", 0.2), ("Pears", 0.4), ("Plums", 0.6))
    ]
    ends = [centred("40", 0.8, 0.22), centred("10", 0.3, 0.42), centred("20", 0.5, 0.62)]
    ticks = [centred(str(20 * k), 0.2 + 0.2 * k, 0.8) for k in range(4)]
    assert as_prompt_lines(PageText((*bars, *ends, *ticks))) == "Apples 40\nPears 10\nPlums 20\n0 20 40 60"


def test_rows_of_numbers_are_a_table_and_no_chart() -> None:
    table = [
        [line(text, left, 0.1 * (top + 1)) for text, left in zip(texts, (0.1, 0.4, 0.7), strict=True)]
        for top, texts in enumerate([("1", "35.00", "0.00"), ("1", "16.00", "2.50"), ("2", "9.50", "1.00")])
    ]
    page = PageText(tuple(each for row in table for each in row))
    assert as_prompt_lines(page) == "1 35.00 0.00\n1 16.00 2.50\n2 9.50 1.00"


def test_one_row_of_numbers_above_words_is_no_chart() -> None:
    numbers = [centred(text, x, 0.5) for text, x in (("1", 0.2), ("2.50", 0.45), ("2.70", 0.7))]
    words = [centred(text, x, 0.55) for text, x in (("ROCK", 0.2), ("SUGAR", 0.45), ("BROWN", 0.7))]
    assert as_prompt_lines(PageText((*numbers, *words))) == "1 2.50 2.70\nROCK SUGAR BROWN"


def test_a_receipts_columns_are_no_chart() -> None:
    headed = [line("Item", 0.05, 0.08), line("Qty", 0.4, 0.08), line("Price", 0.75, 0.08), *RECEIPT[2:]]
    summary = [line("SR", 0.05, 0.3), line("8.11", 0.4, 0.3), line("0.49", 0.75, 0.3)]
    assert as_prompt_lines(PageText((*headed, *summary))) == (
        "Item Qty Price\nMilk 2 3.10\nBread 1 2.40\nTOTAL 8.60\nSR 8.11 0.49"
    )
