"""Numbers as they are printed in charts: with signs, separators of thousands, currencies and units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

TICK_MARKS: Final = " -–—_|[]"
"""Marks of ticks that are read as part of a number or label beside them."""


@dataclass(frozen=True)
class NumberStyle:
    """pattern: has the groups sign, digits, rest and unit. units: the multiplier of each unit that is not 1."""

    pattern: re.Pattern[str]
    units: Mapping[str, float]

    def parse(self, text: str) -> float | None:
        """The number in a text, apart from tick marks at its ends; None for any other text."""
        match = self.pattern.fullmatch(text.rstrip(TICK_MARKS).lstrip(TICK_MARKS.replace("-", "")))
        if match is None:
            return None
        digits = match["digits"].replace(",", "")
        amount = float(f"{digits}.{match['rest'] or 0}") * self.units.get(match["unit"] or "", 1.0)
        return -amount if match["sign"] in ("-", "−") else amount


_DIGITS: Final = r"(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?:[.,](?P<rest>\d+))?"
_CURRENCY: Final = "[$€£¥₹]"

DOLLARS: Final = NumberStyle(
    re.compile(rf"(?P<sign>[-+]?)\$?{_DIGITS}(?P<unit>[%kM]?)"), MappingProxyType({"k": 1e3, "M": 1e6})
)
"""-$5, 1,200, 3.5, 900k, 1.2M, 40%. Of prompt format 1."""

CURRENCIES: Final = NumberStyle(
    re.compile(
        rf"(?P<sign>[-+−]?)(?:{_CURRENCY} ?)?{_DIGITS}(?: ?(?P<unit>%|k|K|M|mn|bn|tn))?(?: ?{_CURRENCY})?"
    ),
    MappingProxyType({"k": 1e3, "K": 1e3, "M": 1e6, "mn": 1e6, "bn": 1e9, "tn": 1e12}),
)
"""Also €30, 30 €, 30K, 1.2bn, 12 %. A single B is no unit, since it is often an 8 that was misread."""
