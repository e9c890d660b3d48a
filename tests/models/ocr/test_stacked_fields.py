"""Values stand beside the labels above them, and tables and pairs of columns stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from models.core.types import TextLine
from models.ocr.stacked_fields import LONGEST_LABEL, beside_labels

LABELS, VALUES = ("Gate", "Boarding", "Seat"), ("B14", "17:05", "27F")


def row(texts: Sequence[str], y: float, size: float = 1.0, left: float = 0.1) -> list[TextLine]:
    return [
        TextLine(text, 1.0, (x, y, x + 0.015 * size * len(text), y + 0.04 * size))
        for text, x in zip(texts, (left + 0.3 * number for number in range(9)), strict=False)
    ]


def texts(rows: Sequence[Sequence[TextLine]]) -> list[str]:
    return [" ".join(line.text for line in each) for each in rows]


def test_each_value_is_beside_its_label_and_other_rows_stay() -> None:
    rows = [row(["TICKET"], 0.1), row(LABELS, 0.2, 0.6), row(VALUES, 0.23), row(["Have a good trip"], 0.4)]
    assert texts(beside_labels(rows)) == [
        "TICKET",
        "Gate B14",
        "Boarding 17:05",
        "Seat 27F",
        "Have a good trip",
    ]


@pytest.mark.parametrize(
    "labels, values",
    [
        (row(LABELS, 0.2), row(VALUES, 0.25)),  # the header and the first row of a table
        (row(LABELS, 0.2, 0.6), row(VALUES[:2], 0.23)),
        (row(LABELS[:1], 0.2, 0.6), row(VALUES[:1], 0.23)),
        (row(("Gate 7", *LABELS[1:]), 0.2, 0.6), row(VALUES, 0.23)),
        (row(("a" * (LONGEST_LABEL + 1), *LABELS[1:]), 0.2, 0.3), row(VALUES, 0.23)),
        (row(LABELS, 0.2, 0.6), row(VALUES, 0.5)),  # far below
        (row(LABELS, 0.2, 0.6), row(VALUES, 0.23, left=0.22)),  # to the right
        (row(("-", "--", "."), 0.2, 0.6), row(VALUES, 0.23)),
    ],
)
def test_rows_that_are_no_labels_and_values_stay(labels: list[TextLine], values: list[TextLine]) -> None:
    assert beside_labels([labels, values]) == [labels, values]


def test_labels_and_values_in_turn_are_all_paired() -> None:
    rows = [
        row(LABELS, 0.2, 0.6),
        row(VALUES, 0.23),
        row(("Class", "Fare"), 0.3, 0.6),
        row(("First", "80.00"), 0.33),
    ]
    assert texts(beside_labels(rows)) == [
        "Gate B14",
        "Boarding 17:05",
        "Seat 27F",
        "Class First",
        "Fare 80.00",
    ]


def test_rows_of_a_table_stay_where_one_looks_smaller_than_the_next() -> None:
    rows = [
        row(("Firewall", "on"), 0.2, 0.9),
        row(("Sync", "off"), 0.24),
        row(("Backup", "on"), 0.28),
        row(("Updates", "off"), 0.32, 0.95),
    ]
    assert beside_labels(rows) == rows
    assert beside_labels([row(("Fields", "yes"), 0.16, 0.8), *rows[:2]]) == [
        row(("Fields", "yes"), 0.16, 0.8),
        *rows[:2],
    ]


def test_a_page_without_rows_has_none() -> None:
    assert beside_labels([]) == []
