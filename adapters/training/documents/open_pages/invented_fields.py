"""Labelled fields whose labels are put together from words, several of them alike, and two parties with their data."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from adapters.training.documents.fields import Wordings
from adapters.training.documents.layouts import LAYOUTS, laid_out
from adapters.training.documents.open_pages.asking import about_noun, about_party, open_words
from adapters.training.documents.page import Item, PageFact, Part, WrittenLine, line
from adapters.training.documents.values import Values

_ALIKE: Final = (
    ("date", "time", "duration", "year"),
    ("venue", "room", "city"),
    ("code", "int", "model", "phone"),
    ("choice", "percent"),
    ("measure", "percent"),
)
"""Kinds of values that may answer the same question about a word."""

_SHORT: Final = (
    ("number", "no."), ("temperature", "temp."), ("telephone", "tel."), ("reference", "ref."),
    ("registration", "reg."), ("account", "acct."),
)  # fmt: skip

_OWN_LAYOUTS: Final = (*LAYOUTS, "heads", "heads", "gap", "colon", "pairs", "plain")


_LISTS: Final = ("labels", "nouns", "asks", "says")


@dataclass(frozen=True)
class Head:
    """What can be said about a word: an entry of open_words.toml."""

    of: str
    value: str
    labels: tuple[str, ...]
    nouns: tuple[str, ...]
    asks: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.value.partition(":")[0]


@cache
def heads() -> tuple[Head, ...]:
    """All of them."""
    return tuple(
        Head(each["of"], each["value"], *(tuple(each[name].split("|")) for name in _LISTS))
        for each in open_words()["head"]
    )


@dataclass(frozen=True)
class _Field:
    word: str
    head: Head

    def wordings(self, rng: random.Random, label: str = "") -> str:
        """A question for it, sometimes in the words of its label."""
        nouns = [form.format(self.word) for form in self.head.nouns]
        asks = [form.format(self.word) for form in self.head.asks]
        spoken = [label.rstrip(".#: ").lower()] * 2 if label else []
        return about_noun(rng, [*nouns, *spoken], asks)


def invented_fields(values: Values, theme: Mapping[str, str], most: int) -> Part:
    """Up to `most` fields about the words of a theme. A few words and a few heads, so that many labels are alike."""
    rng = values.rng
    grid = _grid(rng, theme)
    count = min(len(grid), rng.randint(3, most))
    shown = rng.sample(grid, count)
    if rng.random() < 0.6:
        shown.sort(key=lambda each: each.word)
    style = rng.choice(("as", "title", "upper", "first", "first"))
    pairs: list[tuple[str, str]] = []
    facts: list[PageFact] = []
    for each in shown:
        label = _label(rng, each, style)
        if label.lower() in {known.lower() for known, _ in pairs}:
            continue
        value = values.make(each.head.value)
        pairs.append((label, value))
        for _ in range(rng.choice((1, 1, 2))):
            facts.append(PageFact("field", value, Wordings((each.wordings(rng, label),))))
    absent = [each.wordings(rng, _label(rng, each, "as")) for each in _missing(rng, theme, grid, shown)]
    lines = _in_groups(rng, pairs)
    return Part(tuple(lines), tuple(facts), frozenset(), tuple(absent))


def invented_sentences(values: Values, theme: Mapping[str, str]) -> Part:
    """Two to six sentences about the words of a theme, in lines of one width."""
    rng = values.rng
    grid = _grid(rng, theme)
    shown = rng.sample(grid, min(len(grid), rng.randint(2, 6)))
    facts: list[PageFact] = []
    texts: list[str] = []
    for each in shown:
        value = values.make(each.head.value)
        text = rng.choice(each.head.says).format(each.word, value)
        texts.append(text[:1].upper() + text[1:])
        for _ in range(rng.choice((1, 1, 2))):
            facts.append(PageFact("text", value, Wordings((each.wordings(rng),))))
    absent = tuple(each.wordings(rng) for each in _missing(rng, theme, grid, shown))
    width = rng.randint(34, 80)
    wrapped = textwrap.wrap(" ".join(texts), width, break_on_hyphens=False)
    rows = wrapped if rng.random() < 0.75 else texts
    lines = tuple(line(row, gap=0.4 if number == 0 else 0.0) for number, row in enumerate(rows))
    return Part(lines, tuple(facts), frozenset(), absent)


def _grid(rng: random.Random, theme: Mapping[str, str]) -> list[_Field]:
    """A few words of each sort with a few heads."""
    found: list[_Field] = []
    for sort in ("events", "things", "roles"):
        words = theme[sort].split("|")
        chosen = rng.sample(words, min(len(words), rng.randint(1, 4)))
        own = [head for head in heads() if head.of == sort]
        for head in rng.sample(own, rng.randint(1, 3)):
            found += [_Field(word, head) for word in chosen]
    return found


def _missing(
    rng: random.Random, theme: Mapping[str, str], grid: Sequence[_Field], shown: Sequence[_Field]
) -> Iterator[_Field]:
    """Fields that the page does not have, most of them with a word or a head that it does have."""
    kinds: dict[str, set[str]] = {}
    for each in shown:
        kinds.setdefault(each.word, set()).add(each.head.kind)
    words = [each.word for each in shown]
    for _ in range(8):
        chance = rng.random()
        if chance < 0.45:
            field = rng.choice(grid)
        elif chance < 0.75:
            word = rng.choice(words)
            sort = next(each.head.of for each in shown if each.word == word)
            field = _Field(word, rng.choice([head for head in heads() if head.of == sort]))
        else:
            head = rng.choice(shown).head
            field = _Field(rng.choice(theme[head.of].split("|")), head)
        if not _could_answer(field, kinds.get(field.word, set())):
            yield field


def _could_answer(field: _Field, kinds: set[str]) -> bool:
    kind = field.head.kind
    return kind in kinds or any(kind in alike and kinds & set(alike) for alike in _ALIKE)


def _label(rng: random.Random, field: _Field, style: str) -> str:
    text = rng.choice(field.head.labels).format(field.word)
    if rng.random() < 0.3:
        for long, short in _SHORT:
            text = text.replace(long, short)
    if style == "upper":
        return text.upper()
    if style == "title":
        return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))
    return text[:1].upper() + text[1:] if style == "first" else text


def _in_groups(rng: random.Random, pairs: Sequence[tuple[str, str]]) -> list[WrittenLine]:
    """The pairs in one layout, or in two with a heading between."""
    layout = rng.choice(_OWN_LAYOUTS)
    if len(pairs) < 6 or rng.random() < 0.6:
        return laid_out(rng, layout, pairs)
    at = rng.randint(2, len(pairs) - 2)
    heading = rng.choice(
        ("Details", "Further data", "General", "Notes", "Information", "Part 2", "Additional data")
    )
    return [
        *laid_out(rng, layout, pairs[:at]),
        line(heading, bold=True, gap=0.6),
        *laid_out(rng, rng.choice(_OWN_LAYOUTS), pairs[at:]),
    ]


_PARTY_FIELDS: Final = (
    ("name", "Name|Full name|", "name|full name", "person"),
    ("firm", "Company|Firm|Name|", "name|company|company name", "company"),
    ("street", "Street|Address|", "street|street and number|address line", "street"),
    ("city", "Town|City|", "city|town", "city"),
    ("postcode", "Postcode|ZIP|Postal code", "postcode|zip code|postal code", "postcode"),
    ("country", "Country|", "country", "country"),
    ("phone", "Phone|Tel.|Telephone|Mobile", "phone number|phone|telephone number", "phone"),
    ("mail", "E-mail|Email|Mail", "email|e-mail address|email address", "email"),
    ("number", "ID|No.|Ref.|Code|VAT no.|Tax no.", "", "code"),
    ("account", "IBAN|Account|Bank account", "iban|bank account|account number", "iban"),
    ("contact", "Contact|Attn.|Contact person", "contact person|contact", "person"),
    ("time", "Time|Hour|At", "time|hour", "time"),
    ("date", "Date|On|Day", "date|day", "date"),
)
"""Name, labels, nouns and generator. An empty label stands for none; no nouns stands for those of the label."""

_WHO: Final = ("Who is the {}?", "What is the {} called?", "Who's the {}?", "What name does the {} have?")


def parties(values: Values) -> Part:
    """Two parties with much the same fields, below one another or side by side."""
    rng = values.rng
    names = rng.choice(open_words()["parties"]).split("/")
    chosen = rng.sample(_PARTY_FIELDS[2:], rng.randint(2, 5))
    chosen = [rng.choice(_PARTY_FIELDS[:2]), *chosen]
    beside, labelled = rng.random() < 0.45, rng.random() < 0.65
    facts: list[PageFact] = []
    absent: list[str] = []
    columns: list[list[str]] = []
    labels = {key: rng.choice(texts.split("|")) for key, texts, _, _ in chosen}
    for party in names:
        shown = [party.upper() if rng.random() < 0.3 else party[:1].upper() + party[1:]]
        for key, _, nouns, kind in chosen:
            label = labels[key] if labelled or key in ("number", "account", "contact") else ""
            said = rng.choice(nouns.split("|") if nouns else [label.rstrip(".").lower()])
            if key not in ("name", "firm") and rng.random() < 0.15:
                absent.append(about_party(rng, said, party))
                if beside:
                    shown.append("")
                continue
            value = values.make(kind)
            shown.append(f"{label}: {value}" if label else value)
            question = about_party(rng, said, party)
            if key in ("name", "firm") and rng.random() < 0.5:
                question = about_noun(rng, [party], [form.format(party) for form in _WHO])
            facts.append(PageFact("field", value, Wordings((question,))))
        columns.append(shown)
    free = [each for each in _PARTY_FIELDS[4:] if each not in chosen and each[2]]
    absent += [about_party(rng, rng.choice(each[2].split("|")), rng.choice(names)) for each in free[:2]]
    if beside:
        lines = [
            line(*(Item(text, x) for text, x in zip(texts, (0.0, 0.52), strict=True) if text))
            for texts in zip(*columns, strict=True)
        ]
    else:
        lines = [
            line(text, gap=0.6 if at == 0 else 0.0) for shown in columns for at, text in enumerate(shown)
        ]
    return Part(tuple(each for each in lines if each.items), tuple(facts), frozenset(), tuple(absent))
