"""How labels and their values stand on a page: in one piece, in columns, above one another, side by side."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from adapters.training.documents.page import Item, WrittenLine, line

LAYOUTS: Final = (
    "colon", "colon", "tight", "gap", "gap", "right", "stacked", "pairs", "dots", "plain", "caps", "behind", "spaced",
    "captioned", "captioned", "listed", "listed", "blocks", "blocks", "indented", "answered",
)  # fmt: skip
UNSEEN_LAYOUTS: Final = ("heads", "underlined", "gap", "colon", "bracket")
"""How a label and its value stand. "heads": labels in a row, values below. "underlined": a value, its label below in
brackets. "captioned": the same without brackets. "listed": two or three labels, then their values, in one line.
"blocks": labels below one another, then as many values."""

_FORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tight": "{}:{}",
        "dots": "{} ....... {}",
        "plain": "{} {}",
        "behind": "{} : {}",
        "spaced": "{} - {}",
        "answered": "{}? {}",
        "bracket": "[{}] {}",
    }
)
"""Label and value in one piece, by layout; of all others "label: value"."""


def laid_out(rng: random.Random, layout: str, pairs: Sequence[tuple[str, str]]) -> list[WrittenLine]:
    """Lines of labels and values in a layout; now and then one of them in another layout."""
    gap, x = rng.choice((0.0, 0.0, 0.3)), rng.choice((0.3, 0.4, 0.5))
    if layout in ("pairs", "heads"):
        return _side_by_side(rng, layout, pairs, gap)
    if layout in ("listed", "blocks"):
        return _apart(rng, layout, pairs, gap)
    lines: list[WrittenLine] = []
    for label, value in pairs:
        own = rng.choice(LAYOUTS[:6]) if rng.random() < 0.12 else layout
        if own == "stacked":
            lines += [line(label, size=0.8, gap=gap), line(value)]
        elif own == "underlined":
            lines += [line(value, gap=0.5), line(f"({label})", size=0.8)]
        elif own == "captioned":
            lines += [line(value, gap=0.4), line(label, size=0.8)]
        elif own == "indented":
            lines += [line(f"{label}:", gap=gap), line(Item(value, 0.08))]
        else:
            lines.append(WrittenLine(_in_one_line(rng, own, label, value, x), gap=gap))
    return lines


def _in_one_line(rng: random.Random, layout: str, label: str, value: str, x: float) -> tuple[Item, ...]:
    if layout in ("gap", "right"):
        shown = label + rng.choice((":", "", ""))
        return Item(shown), Item(value, 0.98, right=True) if layout == "right" else Item(value, x)
    form = _FORMS.get(layout, "{}: {}")
    return (Item(form.format(label.upper() if layout == "caps" else label, value)),)


def _apart(
    rng: random.Random, layout: str, pairs: Sequence[tuple[str, str]], gap: float
) -> list[WrittenLine]:
    """Labels first, then their values in the same order: in one line, or below one another."""
    mark = rng.choice((" / ", ", ", " | ", " - "))
    lines: list[WrittenLine] = []
    number = 0
    while number < len(pairs):
        own = pairs[number : number + rng.randint(2, 3 if layout == "listed" else 5)]
        number += len(own)
        if layout == "listed":
            labels, values = (mark.join(each) for each in zip(*own, strict=True))
            lines.append(line(f"{labels}: {values}", gap=gap))
        else:
            lines += [line(label, size=0.9, gap=gap) for label, _ in own]
            lines += [line(value, gap=gap) for _, value in own]
    return lines


def _side_by_side(
    rng: random.Random, layout: str, pairs: Sequence[tuple[str, str]], gap: float
) -> list[WrittenLine]:
    """Two or three fields beside one another: "pairs" in one line each, "heads" with the values below."""
    lines: list[WrittenLine] = []
    number = 0
    while number < len(pairs):
        count = min(rng.choice((1, 2, 2) if layout == "pairs" else (2, 3, 3)), len(pairs) - number)
        own = pairs[number : number + count]
        if any(len(label) + len(value) > 34 for label, value in own):
            own = own[:1]
        places = (0.0, 0.52) if len(own) < 3 else (0.0, 0.35, 0.68)
        fields = list(zip(own, places, strict=False))
        if layout == "pairs":
            lines.append(
                WrittenLine(tuple(Item(f"{label}: {value}", x) for (label, value), x in fields), gap=gap)
            )
        else:
            lines.append(WrittenLine(tuple(Item(label, x) for (label, _), x in fields), 0.8, gap=gap))
            lines.append(WrittenLine(tuple(Item(value, x) for (_, value), x in fields)))
        number += len(own)
    return lines
