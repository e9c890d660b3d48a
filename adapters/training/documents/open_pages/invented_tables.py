"""Tables of made-up rows and columns, which are asked for by row and column, and by what a row has."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.training.documents.fields import WORDS, Wordings
from adapters.training.documents.goods import spoken
from adapters.training.documents.open_pages.asking import about_cell, about_row, open_words, typed
from adapters.training.documents.page import Item, PageFact, Part, WrittenLine, line
from adapters.training.documents.values import Values

_COST_FORMS: Final = (
    "How much is {}?",
    "What does {} cost?",
    "How much does {} cost?",
    "Price of {}?",
    "How much for {}?",
)
_MONTHS_AND_DAYS: Final = ("@months", "@days")


@dataclass(frozen=True)
class _Column:
    label: str
    noun: str
    value: str


def invented_table(values: Values) -> Part:
    """A table of three to seven rows and one to four columns."""
    rng = values.rng
    table: Mapping[str, Any] = rng.choice(open_words()["table"])
    kind = rng.choice(table["row"].split("|"))
    columns = [_Column(*each.split("/", 2)) for each in table["columns"].split("|")]
    shown = rng.sample(columns, rng.randint(1, min(4, len(columns))))
    nouns = {word for each in shown for word in each.noun.split()}
    others = [each for each in columns if each not in shown and not nouns & set(each.noun.split())]
    names = _names(values, table["rows"])
    rows, missing = names[:-2], names[-2:]
    cells = [[values.make(column.value) for column in shown] for _ in rows]
    facts = _facts(rng, kind, rows, shown, cells)
    absent = [about_cell(rng, _said(name), rng.choice(shown).noun) for name in missing]
    absent += [about_cell(rng, _said(rng.choice(rows)), column.noun) for column in others[:2]]
    rng.shuffle(absent)
    rng.shuffle(facts)
    return Part(tuple(_lines(rng, kind, rows, shown, cells)), tuple(facts[:11]), frozenset(), tuple(absent))


def _names(values: Values, source: str) -> list[str]:
    """Names of rows, no two alike; the last two have no row."""
    rng = values.rng
    count = rng.randint(3, 7) + 2
    if source.startswith("@"):
        known = open_words()["words"].get(source[1:]) or WORDS[source[1:]]
        chosen = rng.sample(known, min(count, len(known)))
        if source in _MONTHS_AND_DAYS:
            shown = sorted(chosen[:-2], key=known.index)
            return [*shown, *chosen[-2:]]
        return chosen
    return list(dict.fromkeys(values.make(source) for _ in range(count)))


def _said(name: str) -> str:
    return spoken(name) if " " not in name and name.isalpha() and not name.istitle() else name


def _facts(
    rng: random.Random,
    kind: str,
    rows: Sequence[str],
    columns: Sequence[_Column],
    cells: Sequence[Sequence[str]],
) -> list[PageFact]:
    facts: list[PageFact] = []
    for name, values in zip(rows, cells, strict=True):
        said = name if rng.random() < 0.6 else name.lower() if kind in ("dish", "part", "article") else name
        for column, value in zip(columns, values, strict=True):
            question = about_cell(rng, said, column.noun)
            if column.value == "money" and column.noun == "price" and rng.random() < 0.5:
                question = typed(rng, rng.choice(_COST_FORMS).format(said))
            facts.append(PageFact("table", value, Wordings((question,))))
    for at, column in enumerate(columns):
        found = [values[at] for values in cells]
        single = [number for number, value in enumerate(found) if found.count(value) == 1]
        if single and rng.random() < 0.5:
            number = rng.choice(single)
            question = about_row(rng, column.noun, found[number], kind)
            facts.append(PageFact("table", rows[number], Wordings((question,))))
    return facts


def _lines(
    rng: random.Random,
    kind: str,
    rows: Sequence[str],
    columns: Sequence[_Column],
    cells: Sequence[Sequence[str]],
) -> list[WrittenLine]:
    form = rng.choice(("table", "table", "table", "joined", "below", "numbered"))
    title = rng.choice(("Name", kind[:1].upper() + kind[1:], kind.upper(), "Description", "Item", ""))
    places = [0.42 + 0.56 * at / len(columns) for at in range(len(columns))]
    right = rng.random() < 0.3
    lines: list[WrittenLine] = []
    if form in ("table", "numbered") and (len(columns) > 1 or rng.random() < 0.6):
        shown = [Item(column.label, x) for column, x in zip(columns, places, strict=True)]
        if right:
            shown[-1] = Item(columns[-1].label, 0.98, right=True)
        first = Item("No. " + title if form == "numbered" else title)
        lines.append(WrittenLine(tuple(each for each in (first, *shown) if each.text), bold=True, gap=0.5))
    mark = rng.choice((", ", " / ", " - ", "; ", " | "))
    for number, (name, values) in enumerate(zip(rows, cells, strict=True), 1):
        if form in ("joined", "below"):
            texts = [
                value if len(columns) == 1 else f"{column.label} {value}"
                for column, value in zip(columns, values, strict=True)
            ]
            joined = mark.join(texts)
            lines += (
                [line(f"{name}: {joined}")]
                if form == "joined"
                else [line(name, gap=0.3, bold=True), line(Item(joined, 0.05))]
            )
            continue
        items = [Item(value, x) for value, x in zip(values, places, strict=True)]
        if right:
            items[-1] = Item(values[-1], 0.98, right=True)
        first_item = f"{number} {name}" if form == "numbered" else name
        lines.append(line(first_item, *items))
    return lines
