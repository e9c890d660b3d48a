"""Different spellings of a number, a day or a name are one."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scoring.normal_forms import as_date, as_name, as_number, dates_in, numbers_in


@pytest.mark.parametrize(
    "text",
    ["12.5", "12.50", " 12.50 ", "RM12.50", "RM 12.50", "$12.5", "12.50.", "12.5%", "rm 12.500", "+12.5"],
)
def test_spellings_of_one_amount(text: str) -> None:
    assert as_number(text) == Decimal("12.5")


@pytest.mark.parametrize(("text", "value"), [("1,250.00", "1250"), ("-3", "-3"), (".5", "0.5"), ("0", "0")])
def test_other_numbers(text: str, value: str) -> None:
    assert as_number(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "RM", "12.5 and 3", "1.2.3", "12,50", "twelve", "1e5", "12.50 in all", "¹²"]
)
def test_what_is_no_number_alone(text: str) -> None:
    assert as_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        *("14/03/2018", "14-03-2018", "14/3/18", "14.03.2018", "14 MAR 2018", "14-Mar-18", "14MAR2018"),
        *(
            "2018-03-14",
            "20180314",
            "March 14, 2018",
            "14 March 2018.",
            "14 mar '18",
            "14 03 2018",
            "(14/03/2018)",
        ),
    ],
)
def test_spellings_of_one_day(text: str) -> None:
    assert as_date(text) == datetime.date(2018, 3, 14)


@pytest.mark.parametrize(
    "text", ["", "31/02/2018", "14/13/2018", "14/03", "14 FOO 2018", "on 14/03/2018", "14/03/2018 12:30"]
)
def test_what_is_no_day_alone(text: str) -> None:
    assert as_date(text) is None


@given(
    st.dates(datetime.date(2000, 1, 1), datetime.date(2099, 12, 31)),
    st.sampled_from(["%d/%m/%Y", "%d-%m-%y", "%d %b %Y", "%Y-%m-%d", "%d %B %y"]),
)
def test_every_day_of_this_century_is_read_as_it_was_written(day: datetime.date, form: str) -> None:
    assert as_date(day.strftime(form)) == day


@given(st.text(max_size=40))
def test_any_text_is_read_without_an_error(text: str) -> None:
    as_number(text), as_date(text), as_name(text)


def test_names_are_their_letters_and_digits() -> None:
    assert as_name("B&W Café, Co. Ltd. (1)") == as_name("b & w cafe co ltd 1") == "bwcafecoltd1"


def test_the_dates_of_a_page_are_found_also_where_a_time_is_glued_to_them() -> None:
    page = "Date:16/02/201812:04:58 14 Mar 2018\nMarch 14, 2018 2018-03-14 99/99/2018 16/02/2018 2.50"
    assert dates_in(page) == ["16/02/2018", "14 Mar 2018", "March 14, 2018", "2018-03-14"]
    assert dates_in("no date") == []


def test_the_numbers_of_a_page_are_whole_amounts() -> None:
    assert numbers_in("RM1,077.20 for 2 x 3.50, not 1.2.3 or 03-555 9.") == [
        "1,077.20",
        "2",
        "3.50",
        "03",
        "555",
        "9",
    ]


@given(st.text(max_size=80))
def test_what_is_found_in_a_text_is_a_date_or_a_number(text: str) -> None:
    assert all(date in text and as_date(date) is not None for date in dates_in(text))
    assert all(number in text for number in numbers_in(text))
