"""Tables of pages: hours, timetables, people, marks. Each cell can be asked for by its row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from adapters.training.documents.fields import WORDS, read_list
from adapters.training.documents.goods import (
    Asked,
    build,
    items,
    menu,
    menu_sections,
    named_rows,
    receipt,
    receipt_lines,
    spoken,
)
from adapters.training.documents.page import Item, Part, WrittenLine, line
from adapters.training.documents.values import Values

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _hours(values: Values, unseen: bool) -> Part:
    """A line for every day."""
    rng = values.rng
    short = rng.random() < 0.3
    dash = rng.choice((" - ", "-", " to ", " – "))
    closed = set(rng.sample(_DAYS, rng.choice((0, 1, 1, 2))))
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    for day in _DAYS:
        shown = day[:3] if short else day
        first, last = values.clock(6, 11), values.clock(14, 22)
        if day in closed:
            word = rng.choice(("closed", "Closed", "CLOSED"))
            lines.append(line(shown, Item(word, 0.4)))
            cells.append((day, word, WORDS["ask_hours"]))
        else:
            lines.append(line(shown, Item(f"{first}{dash}{last}", 0.4)))
            cells += [
                (day, first, WORDS["ask_open"]),
                (day, last, WORDS["ask_close"]),
                (day, f"{first}{dash}{last}", WORDS["ask_hours"]),
            ]
    return build(
        values,
        lines,
        rng.sample(cells, min(len(cells), 7)),
        [],
        "start_time end_time time doors departure_time arrival_time",
        unseen,
    )


def _hours_grouped(values: Values, unseen: bool) -> Part:
    """Several days in one line."""
    rng = values.rng
    dash = rng.choice((" - ", "-", " to "))
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    for label, days in (("Monday - Friday", _DAYS[:5]), ("Saturday", _DAYS[5:6]), ("Sunday", _DAYS[6:])):
        shown = rng.choice((label, "Mon-Fri" if "-" in label else label[:3] + "."))
        first, last, day = values.clock(6, 11), values.clock(13, 22), rng.choice(days)
        if label == "Sunday" and rng.random() < 0.6:
            lines.append(line(f"{shown}: closed"))
            cells.append((day, "closed", WORDS["ask_hours"]))
            continue
        lines.append(
            line(f"{shown}: {first}{dash}{last}")
            if rng.random() < 0.5
            else line(shown, Item(f"{first}{dash}{last}", 0.45))
        )
        cells += [(day, first, WORDS["ask_open"]), (day, last, WORDS["ask_close"])]
    return build(
        values, lines, cells, [], "start_time end_time time doors departure_time arrival_time", unseen
    )


def _departures(values: Values, unseen: bool) -> Part:
    rng = values.rng
    places = list(dict.fromkeys(values.make("city") for _ in range(9)))
    count = min(rng.randint(3, 6), len(places) - 2)
    lines = [
        line(
            "Time",
            Item("Line", 0.2),
            Item("Destination", 0.4),
            Item(rng.choice(("Platform", "Track", "Gate")), 0.8),
            bold=True,
            gap=0.5,
        )
    ]
    cells = []
    for place in places[:count]:
        leaves, train, track = values.clock(5, 23), values.make("train"), values.make("platform")
        lines.append(line(leaves, Item(train, 0.2), Item(place, 0.4), Item(track, 0.82)))
        cells += [
            (place, leaves, WORDS["ask_departure"]),
            (place, track, WORDS["ask_track"]),
            (place, train, WORDS["ask_line"]),
        ]
    missing = [
        (place, rng.choice((WORDS["ask_departure"], WORDS["ask_track"], WORDS["ask_line"])))
        for place in places[count:]
    ]
    return build(
        values,
        lines,
        cells,
        missing,
        "departure_time arrival_time time platform train flight gate to_place from_place city start_time",
        unseen,
    )


def _agenda(values: Values, unseen: bool) -> Part:
    rng = values.rng
    rows, missing = named_rows(values, WORDS["topics"], 3, 7)
    hour, with_room = rng.randint(7, 10), rng.random() < 0.5
    lines: list[WrittenLine] = []
    cells: list[Asked] = []
    for number, row in enumerate(rows):
        starts, room = values.clock(hour + number, hour + number), values.make("room")
        lines.append(line(starts, Item(row, 0.22), *([Item(f"Room {room}", 0.75)] if with_room else [])))
        cells.append((spoken(row), starts, WORDS["ask_begin"]))
        if with_room:
            cells.append((spoken(row), room, WORDS["ask_where"]))
    return build(
        values,
        lines,
        cells,
        [(spoken(name), WORDS["ask_begin"]) for name in missing],
        "start_time end_time time room doors event venue",
        unseen,
    )


_COLUMNS: Final = (
    ("Room", "room", "room"),
    ("Phone", "phone", "phone number"),
    ("Ext.", "int:100:999", "extension"),
    ("Role", "job", "role"),
    ("E-mail", "email", "e-mail"),
    ("City", "city", "city"),
    ("Date of birth", "date:old", "date of birth"),
    ("Member no.", "code", "member number"),
)
"""Head, generator and noun of the facts about a person."""


def _people(values: Values, unseen: bool) -> Part:
    """Names with two or three facts about each."""
    rng = values.rng
    columns = rng.sample(_COLUMNS, rng.randint(1, 3))
    places = (0.35, 0.58, 0.82) if len(columns) > 1 else (0.5,)
    names = list(dict.fromkeys(values.person() for _ in range(8)))
    count = min(rng.randint(3, 5), len(names) - 2)
    lines = [
        line(
            "Name",
            *(Item(head, x) for (head, _, _), x in zip(columns, places, strict=False)),
            bold=True,
            gap=0.4,
        )
    ]
    cells: list[Asked] = []
    for name in names[:count]:
        own = [values.make(kind) for _, kind, _ in columns]
        lines.append(line(name, *(Item(value, x) for value, x in zip(own, places, strict=False))))
        cells += [
            (name, value, [each.replace("{0}", noun).replace("{1}", "{}") for each in WORDS["ask_of"]])
            for (_, _, noun), value in zip(columns, own, strict=True)
        ]
    wordings = [each.replace("{0}", columns[0][2]).replace("{1}", "{}") for each in WORDS["ask_of"]]
    covers = "name phone mobile hotline room email city birth_date member_number role occupation employee fax"
    return build(values, lines, cells, [(name, wordings) for name in names[count:]], covers, unseen)


def _plain(table: Mapping[str, Any]) -> Callable[[Values, bool], Part]:
    """A table of names and values, an entry of tables.toml."""
    names, wordings = WORDS[table["rows"]], WORDS[table["ask"]]

    def make(values: Values, unseen: bool) -> Part:
        rows, missing = named_rows(values, names, 3, 7)
        joined, x = table["joined"] and values.rng.random() < 0.4, values.rng.choice((0.4, 0.55, 0.7))
        lines: list[WrittenLine] = []
        cells: list[Asked] = []
        for row in rows:
            value = values.make(table["value"])
            lines.append(line(f"{row}: {value}") if joined else line(row, Item(value, x)))
            cells.append((spoken(row), value, wordings))
        return build(
            values, lines, cells, [(spoken(name), wordings) for name in missing], table["covers"], unseen
        )

    return make


def _bookings(values: Values, unseen: bool) -> Part:
    rng = values.rng
    firms = list(dict.fromkeys(values.make("company") for _ in range(8)))
    lines = [line("Date", Item("Text", 0.3), Item("Amount", 0.98, right=True), bold=True, gap=0.4)]
    cells: list[Asked] = []
    for firm in firms[:4]:
        day, sum_ = values.make("date"), values.amount(5, 900)
        lines.append(line(day, Item(firm, 0.3), Item(sum_, 0.98, right=True)))
        cells += [(firm, sum_, WORDS["ask_paid_to"]),
                  (firm, day, WORDS["ask_paid_when"])]  # fmt: skip
    missing = [
        (
            firm,
            WORDS["ask_paid_to"],
        )
        for firm in firms[4:6]
    ]
    del rng
    return build(values, lines, cells, missing, "company total date amount_paid", unseen)


def _ranking(values: Values, unseen: bool) -> Part:
    rng = values.rng
    names = (
        [f"{values.make('city')} {rng.choice(WORDS['clubs'])}" for _ in range(8)]
        if rng.random() < 0.5
        else [values.person() for _ in range(8)]
    )
    names = list(dict.fromkeys(names))
    lines = [line("Pos", Item("Name", 0.15), Item("Points", 0.8), bold=True, gap=0.4)]
    cells: list[Asked] = []
    for place, name in enumerate(names[:5], 1):
        points = str(rng.randint(10, 990))
        lines.append(line(f"{place}.", Item(name, 0.15), Item(points, 0.8)))
        cells.append(
            (
                name,
                points,
                WORDS["ask_points"],
            )
        )
        if place < 4:
            cells.append(
                (
                    ("first", "second", "third")[place - 1],
                    name,
                    WORDS["ask_place"],
                )
            )
    missing = [
        (
            name,
            WORDS["ask_points"],
        )
        for name in names[5:7]
    ]
    return build(values, lines, cells, missing, "score points name grade", unseen)


TABLES: Final[Mapping[str, Callable[[Values, bool], Part]]] = MappingProxyType(
    {
        "agenda": _agenda,
        "bookings": _bookings,
        "departures": _departures,
        "hours": _hours,
        "hours_grouped": _hours_grouped,
        "items": items,
        "menu": menu,
        "menu_sections": menu_sections,
        "people": _people,
        "ranking": _ranking,
        "receipt": receipt,
        "receipt_lines": receipt_lines,
        **{name: _plain(table) for name, table in read_list("tables.toml").items()},
    }
)
"""Makers of tables by their names in kinds.toml."""
