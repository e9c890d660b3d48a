"""The text of a page goes into prompts row by row, within the limit, and in time for pages of any size."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.types import TextLine
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.prompt_text import LEFT_OUT, as_page_lines, as_prompt_lines
from tests.models.ocr.test_page_layout import line, pages


def test_white_space_and_line_ends_inside_a_line_become_single_spaces() -> None:
    assert as_prompt_lines(PageText((line(" a \n - b\t", 0, 0), line(" ", 0.5, 0.5)))) == "a b"


@given(pages, st.integers(10, 200))
def test_text_in_prompts_keeps_to_its_limit(lines: list[TextLine], limit: int) -> None:
    text = as_prompt_lines(PageText(in_reading_order(lines)), limit_characters=limit)
    assert len(text) <= limit
    assert "\n\n" not in text


def test_what_does_not_fit_is_left_out_of_the_middle() -> None:
    page = PageText(tuple(line(f"row {number:02}", 0, number / 100) for number in range(30)))
    text = as_prompt_lines(page, limit_characters=47)

    kept = text.split("\n")
    assert kept[0] == "row 00"
    assert kept[-1] == "row 29"
    assert kept.count(LEFT_OUT) == 1


class CountedLine(TextLine):
    """Counts how often its box is looked at."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "box":
            CountedLine.looks += 1
        return super().__getattribute__(name)


def column(count: int, number: int) -> TextLine:
    """One number below the other."""
    return line(str(7 * number % 100), 0.1, number / count, 0.03, 0.8 / count)


def one_row(count: int, number: int) -> TextLine:
    return line(str(number), number / count, 0.1, 0.8 / count)


def table(count: int, number: int) -> TextLine:
    """Six columns: numbers, and words at equal distances."""
    place, row = number % 6, number // 6
    text = "word" if row % 3 else str(7 * number % 100)
    return line(text, place / 6, 6 * row / count, 0.1, 4 / count)


def scattered(count: int, number: int) -> TextLine:
    rng = random.Random(number)
    return line(str(rng.randrange(500)), rng.random(), rng.random(), 0.03, 2 / count)


@pytest.mark.parametrize("count", [300, 600, 1200])
@pytest.mark.parametrize("layout", [column, one_row, table, scattered])
def test_the_work_for_a_page_is_bounded_per_line(layout: Callable[[int, int], TextLine], count: int) -> None:
    lines = [layout(count, number) for number in range(count)]
    CountedLine.looks = 0
    as_prompt_lines(
        PageText(tuple(CountedLine(each.text, 0.9, each.box) for each in lines)), chart_ranks=True
    )
    assert CountedLine.looks < 400 * count


def test_items_with_a_wide_gap_are_cells_and_neighbouring_words_are_not() -> None:
    row = (
        TextLine("GATE", 1.0, (0.10, 0.1, 0.18, 0.15)),
        TextLine("closes", 1.0, (0.20, 0.1, 0.32, 0.15)),
        TextLine("17:05", 1.0, (0.40, 0.1, 0.50, 0.15)),
    )
    assert as_page_lines(PageText(row)) == "GATE closes\t17:05"
    assert as_prompt_lines(PageText(row)) == "GATE closes 17:05"


def test_a_dash_between_words_is_hidden_and_one_beside_a_tick_is_left_out() -> None:
    page = PageText((line("- 9 am - 5 pm |", 0, 0),))
    assert as_page_lines(page) == "9 am \x1f- 5 pm"
    assert as_prompt_lines(page) == "9 am 5 pm"


def test_marks_do_not_count_in_the_limit() -> None:
    page = PageText(tuple(line("1 - 2", 0, y / 20) for y in range(6)))
    assert as_page_lines(page, limit_characters=23) == "\n".join(["1 \x1f- 2"] * 6)
    assert LEFT_OUT in as_page_lines(page, limit_characters=22)
