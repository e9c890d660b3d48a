"""Questions about real receipts, whose answers are found in their text by labels: phone, cashier, tax, change, items.

A value is taken only when the whole receipt agrees on it. A field counts as absent only when no word of the receipt
hints at it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.training.data import NOT_ON_THE_PAGE
from adapters.training.documents.composing import ABSENT_SHARE, LEARNT_ABSENT_SHARE
from adapters.training.documents.fields import (
    WORDS,
    Wordings,
    careless,
    fields,
    one_of,
    question_about,
    read_list,
)
from adapters.training.documents.page import Kind, PageFact

_SUM: Final = r"(?:RM|\$|MYR)?\s*(-?\d[\d,]*\.\d{2})"
_LISTS: Final = read_list("receipts.toml")
_RULES: Final = {
    name: re.compile(rule.replace("SUM", _SUM), re.IGNORECASE) for name, rule in _LISTS["rules"].items()
}
_HINTS: Final[Mapping[str, str]] = _LISTS["hints"]
_NEVER: Final[list[str]] = _LISTS["never"]["fields"].split()

_SUMMARY: Final = re.compile(
    r"^(?:gst )?s[rp]?\b.{0,4}@? ?\(?@? ?6 ?%\)?[ :.]*(?:\d{1,2} )?(\d+\.\d{2}) (\d+\.\d{2})$", re.I
)
"""A row of a summary of taxes: the amount and its tax."""

_ITEM: Final = re.compile(
    rf"^(?:\d{{1,2}} ?[xX]? )?([A-Za-z][A-Za-z0-9 &'./()+-]{{3,34}}?) (?:\d{{1,3}} )?{_SUM} ?(?:S|SR|ST|T|ZRL|Z)?$"
)
_CODED: Final = re.compile(r"^\d{7,13} (\d{1,3}) ?[xX×] (\d+\.\d{2}) (\d+\.\d{2})$")
_NO_ITEM: Final = re.compile(
    r"total|cash|change|round|gst|tax|amount|paid|payment|disc|subtotal|visa|master|tender|rm\b|balance|due|adj|sales"
    r"|item|qty|charge|less|net|summary|tel|date|debit|deposit|inv|excl|incl|pay|sr\b|zrl|goods|\bs\b|sum|final|price|rate|promo|save",
    re.I,
)


def receipt_facts(rows: Sequence[str]) -> list[PageFact]:
    """What can be asked about a receipt. rows: its text, row by row."""
    known, facts = fields(), []
    for name, rule in _RULES.items():
        found = {match[1].strip(" .:-") for row in rows for match in rule.finditer(row)}
        if name == "time":
            found = set(list(dict.fromkeys(found))[:1]) if len({each[:5] for each in found}) == 1 else set()
        if len(found) == 1 and (value := found.pop()):
            facts.append(PageFact("field", value, known[name].wordings, name))
    summary = [match for row in rows if (match := _SUMMARY.match(row))]
    if len(summary) == 1 and not any(fact.key == "tax" for fact in facts):
        tax = known["tax"].wordings
        facts.append(
            PageFact("field", summary[0][2], replace(tax, nouns=(*tax.nouns, "gst amount", "gst")), "tax")
        )
    return facts + list(_items(rows))


def _items(rows: Sequence[str]) -> Iterator[PageFact]:
    """Prices and counts of articles whose name occurs once."""
    end = next(
        (number for number, row in enumerate(rows) if re.search(r"total", row, re.I) and number > 3),
        len(rows),
    )
    for number, row in enumerate(rows[:end]):
        coded = _CODED.match(row)
        if coded and number >= 2:
            name = re.sub(r"[#*^]+\w{0,2}$|\*\w+$", "", rows[number - 2]).strip(" *#")
            if sum(other.startswith(name) for other in rows) == 1 and len(name) > 4:
                yield PageFact(
                    "table",
                    coded[3],
                    Wordings(tuple(each.format(name.lower()) for each in WORDS["ask_price"])),
                )
                yield PageFact(
                    "table",
                    coded[1],
                    Wordings((f"How many {name.lower()} were bought?", f"Quantity of {name}?")),
                )
        match = _ITEM.match(row)
        if (
            match
            and not _NO_ITEM.search(match[1])
            and number > 3
            and sum(match[1] in other for other in rows) == 1
        ):
            yield PageFact(
                "table",
                match[2],
                Wordings(
                    tuple(
                        each.format(match[1].lower() if len(match[1]) % 2 else match[1])
                        for each in WORDS["ask_price"]
                    )
                ),
            )


def absent_questions(rng: random.Random, rows: Sequence[str], unseen: bool) -> Iterator[str]:
    """Questions, without an end, that the receipt does not answer."""
    text, known = " ".join(rows), fields()
    free = [name for name, hint in _HINTS.items() if not re.search(hint, text, re.I)]
    never = [
        name
        for name in _NEVER
        if not any(label.lower() in text.lower() for label in known[name].labels if len(label) > 3)
    ]
    foods = [
        food
        for food in WORDS["foods"]
        if not set(re.findall(r"\w{3,}", food.lower())) & set(re.findall(r"\w+", text.lower()))
    ]
    while True:
        chance = rng.random()
        if chance < 0.2 and foods:
            yield careless(rng, one_of(rng, WORDS["ask_price"], unseen).format(rng.choice(foods).lower()))
        else:
            name = rng.choice(free if free and chance < 0.7 else never)
            yield question_about(rng, known[name].wordings, unseen)


def receipt_questions(
    seed: str, rows: Sequence[str], labels: Mapping[str, str], *, unseen: bool, most: int = 9
) -> list[tuple[str, str, Kind]]:
    """(question, answer, kind) about a receipt. labels: company, date and total of the data set, asked now and then."""
    rng, known = random.Random(seed), fields()
    share = ABSENT_SHARE if unseen else LEARNT_ABSENT_SHARE
    facts = receipt_facts(rows)
    rng.shuffle(facts)
    tables = [fact for fact in facts if fact.kind == "table"][:3]
    facts = [*[fact for fact in facts if fact.kind == "field"], *tables][: round(most * (1 - share))]
    facts += [
        PageFact("field", labels[name], known[name].wordings, name)
        for name in ("company", "date", "total")
        if labels.get(name) and not unseen and rng.random() < 0.3
    ]
    asked: dict[str, tuple[str, str, Kind]] = {}
    for fact in facts:
        question = question_about(rng, fact.wordings, unseen)
        asked.setdefault(question.lower(), (question, fact.value, fact.kind))
    absent = absent_questions(rng, rows, unseen)
    for _ in range(max(1, round(len(asked) * share / (1 - share)))):
        question = next(absent)
        asked.setdefault(question.lower(), (question, NOT_ON_THE_PAGE, "absent"))
    return list(asked.values())
