"""The lines of a page as what they may be in a chart: words, ticks of an axis, numbers printed for a label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from models.core.types import TextLine
from models.ocr.printed_numbers import TICK_MARKS

LEAST_LABELS: Final = 3
LEAST_TICKS: Final = 3

MOST_TICKS: Final = 24
"""More aligned numbers than this are a column or row of a table, not an axis."""

_AXIS_TO_LARGEST: Final = (0.6, 5.0)  # the last tick, as a multiple of the largest number in its plot


@dataclass(frozen=True)
class PageItem:
    """A line of a page, and the number that it is; None for words."""

    line: TextLine
    number: float | None


@dataclass(frozen=True)
class Tick:
    """A line that is a number, on an axis or printed in a plot."""

    line: TextLine
    number: float


@dataclass(frozen=True)
class LabelNumbers:
    """A label and the numbers printed for it, at least one."""

    label: str
    numbers: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The number that decides the label's rank."""
        return max(self.numbers)


Rows = Sequence[Sequence[PageItem]]


def as_ticks(items: Iterable[PageItem]) -> list[Tick]:
    """The items that are numbers."""
    return [Tick(item.line, item.number) for item in items if item.number is not None]


def bare(text: str) -> str:
    """The text without tick marks at its ends."""
    return text.strip(TICK_MARKS)


def reaches(ticks: Sequence[Tick], entries: Sequence[LabelNumbers]) -> bool:
    """Whether there is an axis, from the lowest tick up, that reaches about as far as the entries' numbers."""
    if not ticks or not entries:
        return False
    least, most = (factor * max(entry.largest for entry in entries) for factor in _AXIS_TO_LARGEST)
    return least <= ticks[-1].number <= most
