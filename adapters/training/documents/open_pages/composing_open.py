"""Composes pages of made-up labels and tables, and of whole pages with slots."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from adapters.training.data import NOT_ON_THE_PAGE
from adapters.training.documents.open_pages.asking import open_words
from adapters.training.documents.open_pages.invented_fields import (
    invented_fields,
    invented_sentences,
    parties,
)
from adapters.training.documents.open_pages.invented_tables import invented_table
from adapters.training.documents.open_pages.whole_pages import whole_page
from adapters.training.documents.page import Kind, PageFact, Part, WrittenLine, WrittenPage, line
from adapters.training.documents.values import Values

MOST_FACTS: Final = 14
ABSENT_SHARE: Final = 0.2
INVENTED_SHARE: Final = 0.4


def compose_open(seed: str) -> WrittenPage:
    """A page for training, with its questions. The same seed gives the same page."""
    rng = random.Random(seed)
    values = Values(rng, unseen=False)
    return _invented(values) if rng.random() < INVENTED_SHARE else _whole(values)


def _whole(values: Values) -> WrittenPage:
    """A whole page with slots, now and then with a part that is made up below it."""
    rng = values.rng
    parts = [whole_page(values)]
    if rng.random() < 0.15:
        parts.append(invented_fields(values, rng.choice(open_words()["theme"]), 4))
    elif rng.random() < 0.1:
        parts.append(invented_table(values))
    elif rng.random() < 0.1:
        parts.append(invented_sentences(values, rng.choice(open_words()["theme"])))
    return asked_about(rng, "whole", parts, [each for part in parts for each in part.lines])


def _invented(values: Values) -> WrittenPage:
    """A page of parts that are all made up."""
    rng = values.rng
    words = open_words()
    theme = rng.choice(words["theme"])
    chance = rng.random()
    parts = [invented_fields(values, theme, 12 if chance < 0.5 else 7)] if 0.08 < chance < 0.75 else []
    if 0.3 < chance < 0.45 or chance > 0.85:
        parts.append(parties(values))
    if 0.4 < chance < 0.6 or chance > 0.7:
        parts.append(invented_table(values))
    if not parts or rng.random() < 0.3:
        parts.append(invented_sentences(values, theme))
    rng.shuffle(parts)
    title = rng.choice(theme["titles"].split("|"))
    title = title.upper() if rng.random() < 0.3 else title
    head = [line(title, size=rng.choice((1.2, 1.5, 2.0)), bold=True)] if rng.random() < 0.8 else []
    extra = [
        line(text, gap=rng.choice((0.0, 0.5)))
        for text in rng.sample(words["extras"], rng.choice((0, 1, 1, 2)))
    ]
    if extra and rng.random() < 0.3:
        head, extra = [*extra, *head], []
    lines = [*head, *(each for part in parts for each in part.lines), *extra]
    return asked_about(rng, "open", parts, lines)


def asked_about(
    rng: random.Random, kind: str, parts: Sequence[Part], lines: Sequence[WrittenLine]
) -> WrittenPage:
    """The page with its questions, a share of them without an answer."""
    facts: list[PageFact] = [fact for part in parts for fact in part.facts]
    absent = [question for part in parts for question in part.absent]
    rng.shuffle(facts)
    rng.shuffle(absent)
    asked: dict[str, tuple[str, str, Kind]] = {}
    for fact in facts[:MOST_FACTS]:
        (question,) = fact.wordings.asks
        asked.setdefault(question.lower().rstrip("?. "), (question, fact.value, fact.kind))
    known = {fact.wordings.asks[0].lower().rstrip("?. ") for fact in facts}
    for question in absent[: max(1, round(len(asked) * ABSENT_SHARE / (1 - ABSENT_SHARE)))]:
        if question.lower().rstrip("?. ") not in known:
            asked.setdefault(question.lower().rstrip("?. "), (question, NOT_ON_THE_PAGE, "absent"))
    return WrittenPage(kind, tuple(lines), tuple(facts), tuple(absent), tuple(asked.values()))
