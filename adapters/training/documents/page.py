"""Pages before they are drawn: lines of text, what stands on them, and what one could ask that does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from adapters.training.documents.fields import Wordings

Kind = Literal["field", "table", "text", "absent"]


@dataclass(frozen=True)
class Item:
    """A piece of text in a line. x: of its left edge, or of its right edge if `right`, as a share of the width."""

    text: str
    x: float = 0.0
    right: bool = False


@dataclass(frozen=True)
class WrittenLine:
    """size: of the letters, relative to the page's own. gap: space above, in lines."""

    items: tuple[Item, ...]
    size: float = 1.0
    bold: bool = False
    gap: float = 0.0


@dataclass(frozen=True)
class PageFact:
    """What stands on a page. wordings: how it is asked for. key: the field's name, empty for none."""

    kind: Kind
    value: str
    wordings: Wordings
    key: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a page. covers: fields that may not be asked for as absent. absent: questions without an answer."""

    lines: tuple[WrittenLine, ...]
    facts: tuple[PageFact, ...] = ()
    covers: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class WrittenPage:
    """A whole page. style: of the drawing."""

    kind: str
    lines: tuple[WrittenLine, ...]
    facts: tuple[PageFact, ...]
    absent: tuple[str, ...]
    questions: tuple[tuple[str, str, Kind], ...] = field(default=())

    def asked(self, questions: Sequence[tuple[str, str, Kind]]) -> WrittenPage:
        return replace(self, questions=tuple(questions))


def line(*items: str | Item, size: float = 1.0, bold: bool = False, gap: float = 0.0) -> WrittenLine:
    """A line of items; plain text stands at the left."""
    made = tuple(item if isinstance(item, Item) else Item(item) for item in items)
    return WrittenLine(made, size, bold, gap)
