"""Composes pages: some fields of a kind in one of many layouts, tables, sentences, and the questions about them."""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from adapters.training.data import NOT_ON_THE_PAGE
from adapters.training.documents.fields import Wordings, careless, fields, one_of, question_about, read_list
from adapters.training.documents.layouts import LAYOUTS, UNSEEN_LAYOUTS, laid_out
from adapters.training.documents.letters import FRAMED, framed
from adapters.training.documents.page import (
    Kind,
    PageFact,
    Part,
    WrittenLine,
    WrittenPage,
    line,
)
from adapters.training.documents.tables import TABLES
from adapters.training.documents.values import Values

ABSENT_SHARE: Final = 0.25
LEARNT_ABSENT_SHARE: Final = 0.12
"""Share of the questions that the page does not answer, in evaluation and in training: more of them in training make
the adapter decline what it could answer."""

MOST: Final = 10
MOST_LEARNT: Final = 18
"""Questions about a page at most, in evaluation and in training."""

HEADINGS: Final = ("company", "event", "product", "film", "title", "venue", "city")
"""Fields that may stand in large letters at the top, without a label."""

ALONE: Final = (
    "phone",
    "email",
    "website",
    "street",
    "occupation",
    "name",
    "price",
    "date",
    "time",
    "iban",
    "company",
)
"""Fields that may stand without a label when no other field of the page has such a value."""

_SLOT: Final = re.compile(r"\{(?:(\w+)=)?([^{}]+)\}")


def kinds(unseen: bool) -> tuple[str, ...]:
    """The kinds of pages for training, or all of them."""
    return tuple(name for name, each in read_list("kinds.toml").items() if unseen or not each.get("unseen"))


def compose(seed: str, *, unseen: bool = False, learnt: bool = False) -> WrittenPage:
    """A page. The same seed gives the same page.

    unseen: with layouts, names and wordings that training never shows, half of the time of a kind that it never shows.
    learnt: with as many questions as there are, fewer of them without an answer.
    """
    rng = random.Random(seed)
    names = kinds(unseen)
    new = [name for name in names if read_list("kinds.toml")[name].get("unseen")]
    kind = rng.choice(new) if new and rng.random() < 0.5 else rng.choice(names)
    page = _Composer(rng, kind, unseen).page()
    return page.asked(_questions(rng, page, unseen, learnt))


class _Composer:
    def __init__(self, rng: random.Random, kind: str, unseen: bool) -> None:
        self._rng, self._unseen, self._kind = rng, unseen, kind
        self._about = read_list("kinds.toml")[kind]
        self._values = Values(rng, unseen=unseen)
        self._layout = rng.choice(UNSEEN_LAYOUTS if unseen else LAYOUTS)
        self._upper = rng.random() < 0.15

    def page(self) -> WrittenPage:
        rng = self._rng
        pool: list[str] = self._about["fields"].split()
        chosen = self._chosen(pool)
        parts = [self._fields(chosen)]
        tables = self._about["tables"].split()
        if tables and rng.random() < 0.85:
            parts.insert(rng.choice((0, 1)), TABLES[rng.choice(tables)](self._values, self._unseen))
        texts = self._about["texts"].split()
        sentences = self._sentences(texts) if texts else Part(())
        parts.insert(rng.randint(0, len(parts)), sentences)
        if self._kind in FRAMED:
            parts = [framed(self._kind, parts, self._values)]
        head = [line(title, size=rng.choice((1.2, 1.5, 2.0)), bold=True) for title in self._title()]
        extra = [line(text, gap=rng.choice((0.0, 0.5))) for text in self._extra()]
        lines = [*head, *(each for part in parts for each in part.lines), *extra]
        facts = [fact for part in parts for fact in part.facts]
        covers = {key for part in parts for key in part.covers} | {fact.key for fact in facts}
        absent = [question for part in parts for question in part.absent]
        rng.shuffle(absent)
        absent = absent[:2] + list(self._absent(pool, covers, rng.randint(3, 5)))
        return WrittenPage(self._kind, tuple(lines), tuple(facts), tuple(absent))

    def _chosen(self, pool: Sequence[str]) -> list[str]:
        """Some fields in about the order in which they are listed, no two with the same label."""
        rng = self._rng
        count = min(len(pool), rng.randint(3, 11))
        picked = set(rng.sample(pool, count))
        chosen = [name for name in pool if name in picked]
        if rng.random() < 0.3:
            rng.shuffle(chosen)
        return chosen

    def _title(self) -> list[str]:
        title = self._rng.choice(self._about["titles"].split("|"))
        return [title.upper() if self._upper else title] if title and self._rng.random() < 0.85 else []

    def _extra(self) -> list[str]:
        options = [text for text in self._about["extra"].split("|") if text]
        return self._rng.sample(options, min(len(options), self._rng.choice((0, 1, 1, 2))))

    def _fields(self, chosen: Sequence[str]) -> Part:
        """The fields: some in the heading, the others with labels."""
        rng, known = self._rng, fields()
        made = [(name, self._values.make(known[name].value)) for name in chosen]
        used: set[str] = set()
        heading: list[WrittenLine] = []
        alone: list[WrittenLine] = []
        labelled: list[tuple[str, str]] = []
        facts: list[PageFact] = []
        types = [known[name].value for name in chosen]
        for name, value in made:
            fact = PageFact("field", value, known[name].wordings, name)
            label = rng.choice(known[name].labels)
            if name in HEADINGS and not heading and rng.random() < 0.6:
                heading.append(
                    line(value.upper() if self._upper else value, size=rng.choice((1.0, 1.4, 2.0)), bold=True)
                )
            elif name in ALONE and types.count(known[name].value) == 1 and rng.random() < 0.3:
                alone.append(line(value))
            elif label.lower() in used:
                continue
            else:
                used.add(label.lower())
                labelled.append((label.upper() if self._upper else label, value))
            facts.append(fact)
        return Part((*heading, *alone, *laid_out(rng, self._layout, labelled)), tuple(facts))

    def _sentences(self, groups: Sequence[str]) -> Part:
        """Some sentences of the groups, with the questions about their values."""
        rng, known = self._rng, read_list("texts.toml")
        sources = [each for group in dict.fromkeys(groups) for each in known[group]]
        lines: list[WrittenLine] = []
        facts: list[PageFact] = []
        kinds_shown: set[str] = set()
        width = rng.randint(34, 72)
        for source in rng.sample(sources, min(len(sources), rng.randint(1, 1 + len(groups)))):
            text, made = self._filled(source["text"])
            kinds_shown |= {kind.partition(":")[0] for kind, _ in made.values()}
            for each in source["ask"]:
                name, _, wordings = each.partition(": ")
                asked = careless(rng, one_of(rng, wordings.split("|"), self._unseen))
                facts.append(PageFact("text", made[name][1], Wordings((asked,))))
            lines += [
                line(row, gap=0.4 if number == 0 else 0.0)
                for number, row in enumerate(textwrap.wrap(text, width))
            ]
        covers = frozenset(
            name for name, each in fields().items() if each.value.partition(":")[0] in kinds_shown
        )
        return Part(tuple(lines), tuple(facts), covers)

    def _filled(self, text: str) -> tuple[str, dict[str, tuple[str, str]]]:
        """(the sentence with values, kind and value of each by its name)."""
        made: dict[str, tuple[str, str]] = {}

        def fill(match: re.Match[str]) -> str:
            name, kind = match[1] or match[2], match[2]
            made[name] = kind, self._values.make(kind)
            return made[name][1]

        return _SLOT.sub(fill, text), made

    def _absent(self, pool: Sequence[str], covers: set[str], count: int) -> Iterator[str]:
        """Questions for fields that the page does not have, mostly for those that such a page could have."""
        known = fields()
        shown = {name for name in covers if name in known}

        def is_free(name: str) -> bool:
            return name not in covers and not known[name].like & shown

        own = [name for name in pool if is_free(name)]
        others = [name for name in known if is_free(name)]
        for _ in range(count):
            names = own if own and self._rng.random() < 0.65 else others
            each = known[self._rng.choice(names)]
            yield question_about(self._rng, each.wordings, self._unseen)


def _questions(
    rng: random.Random, page: WrittenPage, unseen: bool, learnt: bool
) -> list[tuple[str, str, Kind]]:
    """Questions with answers, no two in the same words, a share of them without an answer on the page."""
    share, most = (LEARNT_ABSENT_SHARE, MOST_LEARNT) if learnt else (ABSENT_SHARE, MOST)
    facts = list(page.facts)
    rng.shuffle(facts)
    if learnt:
        facts += [fact for fact in facts if fact.wordings.nouns]  # again, in other words
    asked: dict[str, tuple[str, str, Kind]] = {}
    for fact in facts[: round(most * (1 - share))]:
        question = question_about(rng, fact.wordings, unseen)
        asked.setdefault(question.lower().rstrip("?. "), (question, fact.value, fact.kind))
    wanted = max(1, round(len(asked) * share / (1 - share)))
    for question in page.absent[:wanted]:
        asked.setdefault(question.lower().rstrip("?. "), (question, NOT_ON_THE_PAGE, "absent"))
    return list(asked.values())
