"""Labels of charts are ranked by their numbers; what is no chart, or was read in part, is not ranked at all."""

from __future__ import annotations

import pytest

from models.ocr.chart_ranks import value
from models.ocr.page_layout import PageText, as_prompt_lines, in_reading_order
from models.ocr.text_line import TextLine

STEP = 0.1


def at(text: str, left: float, y: float, width: float = 0.0) -> TextLine:
    return TextLine(text, 0.9, (left, y - 0.02, left + (width or 0.015 * len(text)), y + 0.02))


def last_line(lines: list[TextLine]) -> str:
    return as_prompt_lines(PageText(in_reading_order(lines))).split("\n")[-1]


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


def test_a_pies_labels_are_ranked_wherever_they_stand() -> None:
    slices = [at("Figs 25%", 0.3, 0.3), at("Plums50%", 0.7, 0.3), at("Pears 25,0%", 0.3, 0.7)]
    assert last_line(slices) == "Plums 1, Figs 2, Pears 2"
    assert last_line([*slices, at("7%", 0.5, 0.9)]) == "7%"


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
    assert as_prompt_lines(PageText(in_reading_order(table(*rows)))).split("\n") == list(rows)


@pytest.mark.parametrize(
    "shares",
    [
        ("Rent 50%", "Food 30%", "Fun 20%", "Total 100%"),
        ("Asia 150%", "Europe 30%", "Africa 20%"),
        ("Shop -60%", "Cafe 25%", "Bar 15%"),
        ("-50%", "-30%", "-20%"),
        ("Kiwi 2% Figs 18%", "Plums 50%", "Pears 30%"),
        ("Rent 50%", "Food 30%"),
    ],
)
def test_percentages_that_make_no_pie_are_not_ranked(shares: tuple[str, ...]) -> None:
    lines = [at(text, 0.1, 0.1 + STEP * number) for number, text in enumerate(shares)]
    assert last_line(lines) == shares[-1]


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
    assert value(TextLine(text, 0.9, (0, 0, 1, 1))) == number
