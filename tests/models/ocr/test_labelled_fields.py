"""The value of a labelled field is found on a page, and nothing is found for another question."""

from __future__ import annotations

import pytest

from models.core.types import TextLine
from models.ocr.labelled_fields import find_field
from models.ocr.page_layout import PageText


def page(*rows: str) -> PageText:
    """Items of a row are separated by two spaces."""
    return PageText(
        tuple(
            TextLine(
                item,
                0.9,
                (0.05 + 0.45 * place, 0.05 + 0.05 * number, 0.4 + 0.45 * place, 0.08 + 0.05 * number),
            )
            for number, row in enumerate(rows)
            for place, item in enumerate(row.split("  "))
        )
    )


LETTER = page(
    "Harbour Office",
    "Tel: 0123 456789",
    "mail: desk@harbour.example",
    "3 May 2024",
    "Dear Ms Okafor,",
    "your boat may stay until the summer.",
    "Yours sincerely,",
    "Bruno Vance",
    "Harbour master",
)
INVOICE = page(
    "Invoice number  48213",
    "Invoice date  2 June 2025",
    "Due date  30 June 2025",
    "Repair  20.00",
    "Amount due  24.50",
)
WINDOW = page("From: Carla Sato", "To: Ivan Marsh", "Subject: Garden party", "Version  4.1.7")


@pytest.mark.parametrize(
    ("shown", "question", "value"),
    [
        (LETTER, "What is the phone number?", "0123 456789"),
        (LETTER, "Please give me the e-mail address.", "desk@harbour.example"),
        (LETTER, "What is the date of the letter?", "3 May 2024"),
        (LETTER, "Who signed the letter?", "Bruno Vance"),
        (LETTER, "Who is the letter addressed to?", "Ms Okafor"),
        (INVOICE, "What is the invoice number?", "48213"),
        (INVOICE, "When is the payment due?", "30 June 2025"),
        (INVOICE, "How much has to be paid?", "24.50"),
        (WINDOW, "Who sent this message?", "Carla Sato"),
        (WINDOW, "What is the subject?", "Garden party"),
        (WINDOW, "Which version is installed?", "4.1.7"),
    ],
)
def test_a_field_is_found(shown: PageText, question: str, value: str) -> None:
    field = find_field(question, shown)
    assert field is not None
    assert (field.text, field.probability) == (value, 0.9)


@pytest.mark.parametrize(
    "question",
    [
        "What is this?",
        "Summarise the letter.",
        "Who signed the peace of Utrecht?",
        "When was Napoleon born?",
        "What is the total population of France?",
        "Is this letter friendly?",
        "How many words are there?",
        "",
    ],
)
@pytest.mark.parametrize("shown", [LETTER, INVOICE, WINDOW, PageText(())])
def test_there_is_no_field(shown: PageText, question: str) -> None:
    assert find_field(question, shown) is None


def test_of_two_dates_without_a_label_none_is_chosen() -> None:
    assert find_field("What is the date?", page("3 May 2024", "we met on 2 May 2024")) is None


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("How much tax was paid?", "0.90"),
        ("How much change was given?", "8.26"),
        ("How much was paid in cash?", "20.00"),
        ("What is the total?", "11.74"),
    ],
)
def test_a_named_amount_is_not_the_total(question: str, value: str) -> None:
    receipt = ("Total  11.74", "GST  0.90", "Cash  20.00", "Change  8.26")
    found = find_field(question, page(*receipt))
    assert found is not None
    assert found.text == value


def test_an_amount_that_is_not_labelled_is_not_found() -> None:
    assert find_field("How much tax was paid?", page("Total  11.74", "Cash  20.00")) is None
