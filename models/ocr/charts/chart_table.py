"""Finds a chart among the rows of a page, puts each label beside its numbers, and ranks the labels.

Reading order alone scatters a bar chart: the numbers over its bars stand at different heights, among the ticks of the
axis. Where labels stand in a row at equal distances, with loose numbers above them, each label gets a row with its
numbers, as in a table, and the numbers of an axis become one row.

The labels of a chart whose numbers are printed, and of a pie, are also ranked: "Plums 1, Figs 2, Pears 2, Kiwis 4". A
small language model compares two ranks more surely than two numbers. A chart of which a label or a number was not read
is not ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.core.types import TextLine
from models.ocr.charts.bar_charts import find_bars
from models.ocr.charts.column_charts import find_columns
from models.ocr.charts.marks import LabelNumbers, PageItem, bare, reaches
from models.ocr.charts.pies import find_slices
from models.ocr.printed_numbers import NumberStyle


@dataclass(frozen=True)
class ChartTable:
    """The rows of a page, and the ranks of its chart.

    rows: in reading order, with each label of a chart beside its numbers. ranking: the chart's labels with their
    ranks, the highest first; empty when the page is no chart or its chart is not ranked.
    """

    rows: list[list[TextLine]]
    ranking: str


def as_table(rows: Sequence[Sequence[TextLine]], style: NumberStyle) -> ChartTable:
    """Put the labels of a chart beside their numbers, and rank them.

    rows: of a page, in reading order. Those of a page without a chart come back as they are.
    style: decides which texts are numbers.
    """
    items = [[PageItem(line, style.parse(line.text)) for line in row] for row in rows]
    columns = find_columns(items, style)
    if columns is not None:
        complete = reaches(columns.ticks, columns.entries)
        return ChartTable(columns.rows, _ranking(columns.entries) if complete else "")
    return ChartTable([list(row) for row in rows], _ranking(find_bars(items) or _pie(rows)))


def _ranking(entries: Sequence[LabelNumbers]) -> str:
    """Labels with their ranks, the highest first; equal numbers share a rank. Empty without entries."""
    order = sorted((entry.largest for entry in entries), reverse=True)
    highest_first = sorted(entries, key=lambda entry: -entry.largest)
    return ", ".join(f"{entry.label} {order.index(entry.largest) + 1}" for entry in highest_first)


def _pie(rows: Sequence[Sequence[TextLine]]) -> list[LabelNumbers]:
    """The labels of a pie; empty when there is none, or a label has no text but tick marks."""
    slices = find_slices([line for row in rows for line in row])
    entries = [LabelNumbers(bare(each.text), (each.share,)) for each in slices]
    return entries if all(entry.label for entry in entries) else []
