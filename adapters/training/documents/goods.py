"""Tables of goods with prices, on invoices, receipts and menus, and what all tables of pages are built with."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.training.documents.fields import WORDS, Wordings, careless, one_of
from adapters.training.documents.page import Item, PageFact, Part, WrittenLine, line
from adapters.training.documents.values import Values

Asked = tuple[str, str, Sequence[str]]
"""Name of a row, its value, and wordings for it."""


def build(
    values: Values,
    lines: Sequence[WrittenLine],
    cells: Sequence[Asked],
    missing: Sequence[tuple[str, Sequence[str]]],
    covers: str,
    unseen: bool,
) -> Part:
    """A table. cells: what can be asked. missing: names that have no row, with the wordings for them."""
    rng = values.rng
    facts = [
        PageFact("table", value, Wordings((careless(rng, one_of(rng, wordings, unseen).format(name)),)))
        for name, value, wordings in cells
    ]
    absent = [careless(rng, one_of(rng, wordings, unseen).format(name)) for name, wordings in missing]
    return Part(tuple(lines), tuple(facts), frozenset(covers.split()), tuple(absent))


def named_rows(values: Values, names: Sequence[str], low: int, high: int) -> tuple[list[str], list[str]]:
    """(names of the rows, some that have none)."""
    count = min(values.rng.randint(low, high), len(names) - 3)
    chosen = values.rng.sample(names, count + 3)
    return chosen[:count], chosen[count:]


def spoken(name: str) -> str:
    return name if name.isupper() else name[:1].lower() + name[1:]


def asked(name: str, price: str, count: str = "") -> list[Asked]:
    """The questions about one of the goods. count: "" where the table does not say it."""
    questions: list[Asked] = [(spoken(name), price, WORDS["ask_price"])]
    return [*questions, (spoken(name), count, WORDS["ask_count"])] if count else questions


def goods(
    values: Values,
    lines: Sequence[WrittenLine],
    cells: Sequence[Asked],
    missing: Sequence[str],
    covers: str,
    unseen: bool,
) -> Part:
    """A table of goods. missing: goods that it does not have, whose prices are asked for."""
    return build(
        values, lines, cells, [(spoken(name), WORDS["ask_price"]) for name in missing], covers, unseen
    )


def items(values: Values, unseen: bool) -> Part:
    """Quantity, unit price and amount of goods or work, under a heading."""
    rng = values.rng
    rows, missing = named_rows(values, (*WORDS["work"], *WORDS["goods"]), 2, 5)
    with_count = rng.random() < 0.6
    head = (
        [Item("Description"), Item("Qty", 0.55), Item("Amount", 0.98, right=True)]
        if with_count
        else [Item("Item"), Item("Price", 0.98, right=True)]
    )
    lines = [WrittenLine(tuple(head), bold=True, gap=0.6)]
    cells: list[Asked] = []
    for row in rows:
        price, count = values.amount(3, 400), str(rng.randint(1, 24))
        lines.append(line(row, *([Item(count, 0.55)] if with_count else []), Item(price, 0.98, right=True)))
        cells += asked(row, price, count if with_count else "")
    return goods(values, lines, cells, missing, "price product quantity_total pieces fee", unseen)


def receipt(values: Values, unseen: bool) -> Part:
    """Goods with prices, as tills print them."""
    rng = values.rng
    rows, missing = named_rows(values, WORDS["foods"] if rng.random() < 0.4 else WORDS["goods"], 2, 7)
    upper = rng.random() < 0.6
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    with_count = rng.random() < 0.4
    for row in rows:
        price, count = values.amount(1, 60), str(rng.randint(1, 6))
        shown = row.upper() if upper else row
        lines.append(line(f"{count} x {shown}" if with_count else shown, Item(price, 0.98, right=True)))
        cells += asked(row, price, count if with_count else "")
    return goods(values, lines, cells, missing, "price product fee quantity_total pieces", unseen)


def receipt_lines(values: Values, unseen: bool) -> Part:
    """Goods with a code, and below each one how many at which price."""
    rng = values.rng
    rows, missing = named_rows(values, WORDS["goods"], 1, 4)
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    for row in rows:
        count, each = rng.randint(1, 6), values.amount(1, 40)
        amount = each if count == 1 else values.amount(10, 150)
        lines.append(line(row.upper(), gap=0.1))
        lines.append(
            line(
                values.make("code:ean"),
                Item(f"{count} X", 0.4),
                Item(each, 0.7, right=True),
                Item(amount, 0.98, right=True),
            )
        )
        cells.append((spoken(row), str(count), WORDS["ask_count"]))
        cells.append(
            (
                spoken(row),
                amount,
                WORDS["ask_amount"],
            )
        )
    return goods(values, lines, cells, missing, "price product fee quantity_total pieces barcode", unseen)


def menu(values: Values, unseen: bool) -> Part:
    rng = values.rng
    rows, missing = named_rows(values, WORDS["foods"], 4, 9)
    dots = rng.random() < 0.2
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    for row in rows:
        price = values.amount(2, 30)
        shown = f"{row} {'.' * rng.randint(4, 20)} {price}" if dots else ""
        lines.append(line(shown) if dots else line(row, Item(price, 0.9, right=True)))
        cells += asked(row, price)
    return goods(values, lines, cells, missing, "price fee total", unseen)


def menu_sections(values: Values, unseen: bool) -> Part:
    first, second = menu(values, unseen), menu(values, unseen)
    names = {fact.wordings.asks[0].lower() for fact in first.facts}
    known = [fact for fact in second.facts if fact.wordings.asks[0].lower() not in names]
    lines = (
        line("Starters", bold=True, size=1.2),
        *first.lines[:4],
        line("Mains", bold=True, size=1.2, gap=0.5),
        *second.lines[:3],
    )
    shown = " ".join(item.text for each in lines for item in each.items)
    facts = [fact for fact in (*first.facts[:4], *known[:3]) if shown.count(fact.value) == 1]
    return Part(lines, tuple(facts), first.covers)
