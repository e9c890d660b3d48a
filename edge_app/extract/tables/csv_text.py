"""Rows as CSV that spreadsheets open as they should: RFC 4180 with "\\n", numbers as numbers, no formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from edge_app.extract.rows import Cell

BOM = "\ufeff"
"""Begins a file that Excel is to read as UTF-8."""

_FORMULA = re.compile(r"[=+\-@\t\r\n]")
"""A spreadsheet takes a text that begins so for a formula, also behind spaces."""

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?([.,]\d+)?%?", re.ASCII)


def csv_line(cells: Sequence[Cell]) -> str:
    """One line with its end. None is an empty cell; booleans are "true" and "false"."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(
        [_cell(cell) for cell in cells]
    )  # so that "\r" is quoted
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number_text(value)
    return _harmless(value)


def number_text(value: float) -> str:
    """A number without an exponent, which some spreadsheets take for text: 1200000.0 is "1200000", 0.1 is "0.1"."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    return text if float(text or "0") == value else repr(value)


def _harmless(text: str) -> str:
    """The text behind an apostrophe when a spreadsheet would compute it; a plain number stays one."""
    begin = text.lstrip(" ")
    if _FORMULA.match(begin) is None or _NUMBER.fullmatch(text):
        return text
    return "'" + text
