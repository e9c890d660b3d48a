"""Columns and side bars are read one after another, the rows of a table across."""

from __future__ import annotations

from models.core.types import TextLine
from models.ocr.columns import rows_by_column, transcript
from models.ocr.page_layout import PageText, rows


def line(text: str, left: float, top: float, width: float = 0.3, height: float = 0.02) -> TextLine:
    return TextLine(text, 0.9, (left, top, left + width, top + height))


def read(lines: list[TextLine]) -> list[str]:
    return transcript(PageText(tuple(lines))).split("\n")


def test_two_columns_of_running_text_under_a_title() -> None:
    title = line("The annual report of the gardening club", 0.1, 0.02, 0.8)
    left = [line(f"left column, running text, {n}", 0.05, 0.1 + 0.04 * n, 0.4) for n in range(8)]
    right = [line(f"right column, running text, {n}", 0.55, 0.1 + 0.04 * n, 0.4) for n in range(8)]
    footer = line("Page 3 of the annual report of the club", 0.2, 0.9, 0.6)
    assert read([*right, footer, *left, title]) == [each.text for each in (title, *left, *right, footer)]


def test_three_columns() -> None:
    columns = [
        [line(f"column {c} has this line {n}", 0.02 + 0.33 * c, 0.1 + 0.05 * n, 0.28) for n in range(6)]
        for c in range(3)
    ]
    assert read([each for row in zip(*columns, strict=True) for each in row]) == [
        each.text for column in columns for each in column
    ]


def test_a_side_bar_is_read_before_the_page_beside_it() -> None:
    bar = [
        line(name, 0.02, 0.1 + 0.055 * n, 0.12) for n, name in enumerate(("Home", "Mail", "Files", "Help"))
    ]
    page = [line(f"A long line of the article, {n}", 0.25, 0.08 + 0.04 * n, 0.6) for n in range(9)]
    assert read([*page, *bar]) == [each.text for each in (*bar, *page)]


def test_a_receipt_is_read_row_by_row() -> None:
    receipt = [
        each
        for n, (item, price) in enumerate(
            (("Milk", "3.10"), ("Bread", "2.40"), ("Rice", "7.25"), ("TOTAL", "12.75"))
        )
        for each in (line(item, 0.05, 0.1 + 0.05 * n, 0.2), line(price, 0.7, 0.101 + 0.05 * n, 0.1))
    ]
    assert rows_by_column(receipt) == rows(receipt)
    assert read(receipt)[0] == "Milk 3.10"


def test_labels_with_long_values_stay_beside_them() -> None:
    form = [
        each
        for n, (label, value) in enumerate(
            (
                ("Name", "Ada Lindqvist of Northfield"),
                ("Street", "14 Harbour Road, flat 3"),
                ("Town", "Northfield-on-Sea"),
            )
        )
        for each in (line(label, 0.05, 0.1 + 0.05 * n, 0.1), line(value, 0.4, 0.1 + 0.05 * n, 0.4))
    ]
    assert read(form)[0] == "Name Ada Lindqvist of Northfield"


def test_figures_stay_beside_their_labels_on_a_page_that_is_a_little_tilted() -> None:
    receipt = [
        each
        for n in range(6)
        for each in (
            line(f"Item {n}", 0.05, 0.1 + 0.03 * n, 0.2),
            line(f"RM {n}.90", 0.7, 0.112 + 0.03 * n, 0.1),
        )
    ]
    assert rows_by_column(receipt) == rows(receipt)


def test_a_side_bar_is_cut_off_from_a_form() -> None:
    bar = [
        line(name, 0.02, 0.1 + 0.1 * n, 0.12)
        for n, name in enumerate(("Home", "Mail", "Files", "Help", "Keys"))
    ]
    form = [
        each
        for n, (label, value) in enumerate(
            (("Name:", "Ada"), ("Town:", "Oslo"), ("Language:", "Danish"), ("Plan:", "Home"))
        )
        for each in (line(label, 0.2717, 0.1 + 0.13 * n, 0.1), line(value, 0.5, 0.101 + 0.13 * n, 0.1))
    ]
    assert read([*bar, *form]) == [
        "Home",
        "Mail",
        "Files",
        "Help",
        "Keys",
        "Name: Ada",
        "Town: Oslo",
        "Language: Danish",
        "Plan: Home",
    ]


def test_every_line_is_kept_once() -> None:
    lines = [line(str(n), (n * 0.37) % 0.8, (n * 0.23) % 0.9, 0.1 + (n % 3) * 0.1) for n in range(60)]
    assert sorted(each.text for row in rows_by_column(lines) for each in row) == sorted(
        str(n) for n in range(60)
    )


def test_nothing_is_read_in_nothing() -> None:
    assert transcript(PageText(())) == ""
