"""Charts get a row a label and are ranked; what is no chart keeps its rows, and one read in part has no ranks."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from models.core.types import TextLine
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.printed_numbers import CURRENCIES, DOLLARS
from models.ocr.prompt_text import as_prompt_lines
from tests.models.ocr.test_page_layout import RECEIPT, line

STEP = 0.1


def at(text: str, left: float, y: float, width: float = 0.0) -> TextLine:
    return TextLine(text, 0.9, (left, y - 0.02, left + (width or 0.015 * len(text)), y + 0.02))


def ranked(lines: Iterable[TextLine]) -> str:
    return as_prompt_lines(PageText(tuple(lines)), chart_ranks=True)


def last_line(lines: list[TextLine]) -> str:
    return ranked(in_reading_order(lines)).split("\n")[-1]


def table(*rows: str) -> list[TextLine]:
    """Words in columns, a row a line."""
    return [
        at(word, 0.05 + 0.22 * column, 0.05 + 0.08 * number)
        for number, row in enumerate(rows)
        for column, word in enumerate(row.split())
    ]


def bars(rows: dict[str, str], ticks: tuple[int, ...] = (0, 20, 40, 60)) -> list[TextLine]:
    """Horizontal ones, each number at the end of its bar; none where it is empty."""
    reach = 0.6 / max(ticks)
    lines = []
    for number, (label, text) in enumerate(rows.items()):
        y = 0.1 + STEP * number
        lines.append(TextLine(label, 0.9, (0.05, y - 0.02, 0.2, y + 0.02)))
        if text:
            lines.append(at(text, 0.23 + reach * float(text.strip("$ ")), y, 0.04))
    axis = 0.1 + STEP * len(rows)
    return lines + [at(str(tick), 0.2 + reach * tick, axis, 0.04) for tick in ticks]


def test_bars_are_ranked_by_the_numbers_at_their_ends() -> None:
    assert last_line(bars({"Figs": "30", "Plums": "55", "Pears": "30", "Kiwis": "9"})) == (
        "Plums 1, Figs 2, Pears 2, Kiwis 4"
    )


def test_a_title_above_the_bars_does_not_matter_but_a_label_without_its_number_does() -> None:
    rows = {"Figs": "30", "Plums": "55", "Pears": "10"}
    titled = [at("Sales", 0.5, 0.02), *bars(rows)]
    assert last_line(titled) == "Plums 1, Figs 2, Pears 3"
    assert last_line(bars({"Kiwis": "", **rows})) == "0 20 40 60"
    assert last_line(bars({"Apples": "58", "Kiwis": "", **rows})) == "0 20 40 60"


def test_a_number_that_does_not_stand_where_its_bar_ends_belongs_to_no_bar() -> None:
    moved = [
        TextLine(line.text, 0.9, (0.75, line.box[1], 0.8, line.box[3])) if line.text == "30" else line
        for line in bars({"Figs": "30", "Plums": "55", "Pears": "10"})
    ]
    assert last_line(moved) == "0 20 40 60"


@pytest.mark.parametrize(
    "rows",
    [
        ("Item Qty Price Sum", "Milk 2 3.10 6.20", "Subtotal 8.60", "Tax 0.49", "Total 9.09"),
        ("Milk 3.10", "Bread 2.40", "Butter 4.10", "Eggs 2 3.10 6.20", "TOTAL 15.80"),
        ("Tel 030 555 1234", "Age 42", "Height 180", "Weight 800"),
        ("Year 2019 2020 2021", "Sales 2150 1700 1500", "Costs 1400 900 1200", "Profit 750 800 300"),
        ("Round 1 2 3", "Anna 3 3 4", "Ben 2 5 1", "Cleo 4 1 4"),
        ("5 25 45", "6 05 35", "7 05 35", "8 05 25", "9 05 50"),
        ("Milk 2.40", "Bread 3.10", "Total 5.50", "2 4 6"),
    ],
)
def test_receipts_forms_and_tables_are_not_ranked(rows: tuple[str, ...]) -> None:
    assert ranked(in_reading_order(table(*rows))).split("\n") == list(rows)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("1,200", 1200),
        ("1,234,567", 1234567),
        ("3,5", 3.5),
        ("3.50", 3.5),
        ("-$5", -5),
        ("900k", 900_000),
        ("1.2M", 1_200_000),
        ("40%", 40),
        ("20 -", 20),
        ("[11", 11),
        ("1 2", None),
        ("Q3", None),
        ("", None),
    ],
)
def test_numbers_are_read_as_they_are_printed(text: str, number: float | None) -> None:
    assert DOLLARS.parse(text) == CURRENCIES.parse(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("€30", 30),
        ("30 €", 30),
        ("-£1,200.50", -1200.5),
        ("−5", -5),
        ("30K", 30_000),
        ("1.2bn", 1.2e9),
        ("€ 4 mn", 4e6),
        ("2tn", 2e12),
        ("12 %", 12),
    ],
)
def test_numbers_with_other_currencies_and_units_are_read_since_the_second_format(
    text: str, number: float
) -> None:
    assert CURRENCIES.parse(text) == pytest.approx(number)
    assert DOLLARS.parse(text) is None


@pytest.mark.parametrize("text", ["3B", "30 kg", "€", "K", "1 2K", "30KK", "€€3"])
def test_words_and_letters_that_were_misread_are_no_numbers(text: str) -> None:
    assert CURRENCIES.parse(text) is None


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
    assert ranked(chart) == ("Sales\n0 20 60\nApples 55\nPears 7\nPlums 21\nApples 1, Plums 2, Pears 3")


def test_grouped_bars_keep_their_order_and_a_legend_at_the_side_stays() -> None:
    second = [centred("33", 0.28, 0.42), centred("9", 0.53, 0.7), centred("50", 0.78, 0.3)]
    chart = [*AXIS, *VALUES, *second, *LABELS, centred("Shop", 0.95, 0.3)]
    assert ranked(chart) == (
        "Shop\n0 20 60\nApples 55 33\nPears 7 9\nPlums 21 50\nApples 1, Plums 2, Pears 3"
    )


def test_bars_without_printed_numbers_have_an_axis_and_labels() -> None:
    assert ranked((*AXIS, *LABELS)) == "0 20 60\nApples Pears Plums"


def test_labels_that_were_read_as_one_line_are_told_apart() -> None:
    merged = [LABELS[0], TextLine("Pears Plums Grape", 0.9, (0.373, 0.86, 1.027, 0.9))]
    numbers = [*VALUES, centred("30", 0.93, 0.5)]
    assert ranked((*AXIS, *numbers, *merged)) == (
        "0 20 60\nApples 55\nPears 7\nPlums 21\nGrape 30\nApples 1, Grape 2, Plums 3, Pears 4"
    )


def test_marks_beside_ticks_and_lines_without_letters_do_not_matter() -> None:
    marked = [TextLine(f"{tick.text} –", 0.9, tick.box) for tick in AXIS]
    page = (*marked, centred("—", 0.1, 0.6), *VALUES, *LABELS)
    assert ranked(page) == "0 20 60\nApples 55\nPears 7\nPlums 21\nApples 1, Plums 2, Pears 3"


def test_numbers_beside_horizontal_bars_stay_in_the_row_of_their_label() -> None:
    bars = [
        TextLine(text, 0.9, (0.02, y, 0.15, y + 0.04))
        for text, y in (("Apples", 0.2), ("Pears", 0.4), ("Plums", 0.6))
    ]
    ends = [centred("40", 0.8, 0.22), centred("10", 0.3, 0.42), centred("20", 0.5, 0.62)]
    ticks = [centred(str(20 * k), 0.2 + 0.2 * k, 0.8) for k in range(4)]
    assert ranked((*bars, *ends, *ticks)) == "Apples 40\nPears 10\nPlums 20\n0 20 40 60"


def test_rows_of_numbers_are_a_table_and_no_chart() -> None:
    table = [
        [line(text, left, 0.1 * (top + 1)) for text, left in zip(texts, (0.1, 0.4, 0.7), strict=True)]
        for top, texts in enumerate([("1", "35.00", "0.00"), ("1", "16.00", "2.50"), ("2", "9.50", "1.00")])
    ]
    page = tuple(each for row in table for each in row)
    assert ranked(page) == "1 35.00 0.00\n1 16.00 2.50\n2 9.50 1.00"


def test_one_row_of_numbers_above_words_is_no_chart() -> None:
    numbers = [centred(text, x, 0.5) for text, x in (("1", 0.2), ("2.50", 0.45), ("2.70", 0.7))]
    words = [centred(text, x, 0.55) for text, x in (("ROCK", 0.2), ("SUGAR", 0.45), ("BROWN", 0.7))]
    assert ranked((*numbers, *words)) == "1 2.50 2.70\nROCK SUGAR BROWN"


def test_a_receipts_columns_are_no_chart() -> None:
    headed = [line("Item", 0.05, 0.08), line("Qty", 0.4, 0.08), line("Price", 0.75, 0.08), *RECEIPT[2:]]
    summary = [line("SR", 0.05, 0.3), line("8.11", 0.4, 0.3), line("0.49", 0.75, 0.3)]
    assert ranked((*headed, *summary)) == (
        "Item Qty Price\nMilk 2 3.10\nBread 1 2.40\nTOTAL 8.60\nSR 8.11 0.49"
    )
