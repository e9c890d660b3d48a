"""CSV that a spreadsheet opens as it should."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.extract.tables.csv_text import csv_line


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_every_text_comes_back_but_for_the_apostrophe_of_a_formula(cells: list[str]) -> None:
    (row,) = csv.reader(io.StringIO(csv_line(["x", *cells]), newline=""))
    assert [
        back if back == cell else back.removeprefix("'") for back, cell in zip(row[1:], cells, strict=True)
    ] == cells


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|'/c calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "+60 3-1234"]
)
def test_a_formula_is_text_for_a_spreadsheet(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(csv_line([text]), newline=""))
    assert cell == "'" + text


@pytest.mark.parametrize("text", ["-5.00", "+3", "12,50", "-1,234.50", "a=b", "3 - 2", ""])
def test_a_plain_number_and_other_text_stay_as_they_are(text: str) -> None:
    row = next(csv.reader(io.StringIO(csv_line(["x", text]), newline="")))
    assert row == ["x", text]


def test_numbers_are_numbers_and_nothing_is_an_empty_cell() -> None:
    assert (
        csv_line([9.9, 12.0, 1e6, 0.1, -3, 0.0, None, True, False]) == "9.9,12,1000000,0.1,-3,0,,true,false\n"
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_as_it_was(number: float) -> None:
    assert float(csv_line([number])) == number
