"""The fields of pages, how one asks for them, the words of pages, and the other lists beside this module."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_LISTS: Final = Path(__file__).with_name("lists")


@cache
def read_list(name: str) -> Mapping[str, Any]:
    """A file of lists."""
    return tomllib.loads((_LISTS / name).read_text(encoding="utf-8"))


WORDS: Final[Mapping[str, list[str]]] = read_list("words.toml")
"""Words by the name of their list."""


@dataclass(frozen=True)
class Wordings:
    """How something is asked for: by whole questions, or by nouns around which wordings.toml has forms.

    Of three or more asks, and of three or more nouns, the last is kept for evaluation. more_asks, more_nouns: others
    for training only.
    """

    asks: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    more_asks: tuple[str, ...] = ()
    more_nouns: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldKind:
    """An entry of fields.toml."""

    value: str
    labels: tuple[str, ...]
    wordings: Wordings
    like: frozenset[str]


@cache
def fields() -> Mapping[str, FieldKind]:
    """fields.toml by name. A field is like every field that names it."""
    content, more = read_list("fields.toml"), read_list("asks.toml")
    like = {name: set(each["like"].split()) for name, each in content.items()}
    for name, others in list(like.items()):
        for other in others:
            like[other].add(name)
    return {
        name: FieldKind(
            each["value"],
            tuple(each["labels"].split("|")),
            Wordings(
                *(_parts(each[kind]) for kind in ("asks", "nouns")),
                *(_parts(more[kind].get(name, "")) for kind in ("asks", "nouns")),
            ),
            frozenset(like[name]),
        )
        for name, each in content.items()
    }


def _parts(text: str) -> tuple[str, ...]:
    return tuple(text.split("|")) if text else ()


def one_of(rng: random.Random, wordings: Sequence[str], unseen: bool) -> str:
    """A wording: the last of three or more only if `unseen`, and then mostly."""
    if len(wordings) < 3:
        return rng.choice(wordings)
    return wordings[-1] if unseen else rng.choice(wordings[:-1])


def question_about(rng: random.Random, wordings: Wordings, unseen: bool) -> str:
    """A question for a fact: a whole one, or a wording around a noun."""
    forms = read_list("wordings.toml")
    if wordings.asks and (not wordings.nouns or rng.random() < 0.45):
        ask = _any(rng, wordings.asks, wordings.more_asks, unseen)
        return careless(rng, ask if unseen else _wrapped(rng, ask, forms["around"]))
    noun = _any(rng, wordings.nouns, wordings.more_nouns, unseen)
    asked = rng.choice(forms["unseen" if unseen else "seen"]).format(noun)
    return careless(
        rng, asked[:1].upper() + asked[1:] if asked[0] != noun[0] or rng.random() < 0.5 else asked
    )


def training_questions(each: int, seed: int = 0) -> list[str]:
    """Questions in all words of training and in more forms: each around `each` nouns, and every whole question.

    Those of one form are beside one another. models.training.scope.pages learns from them.
    """
    rng, known = random.Random(seed), [kind.wordings for kind in fields().values()]

    def seen(wordings: Sequence[str]) -> Sequence[str]:
        return wordings[:-1] if len(wordings) > 2 else wordings

    nouns = [noun for own in known for noun in (*seen(own.nouns), *own.more_nouns)]
    forms = read_list("wordings.toml")
    asked = [
        form.format(noun)
        for form in dict.fromkeys([*forms["seen"], *forms["scope"]])
        for noun in rng.sample(nouns, min(each, len(nouns)))
    ]
    return list(dict.fromkeys([*asked, *(ask for own in known for ask in (*seen(own.asks), *own.more_asks))]))


def _any(rng: random.Random, known: Sequence[str], more: Sequence[str], unseen: bool) -> str:
    if unseen or not more:
        return one_of(rng, known, unseen)
    return rng.choice((*(known[:-1] if len(known) > 2 else known), *more))


def _wrapped(rng: random.Random, question: str, forms: Sequence[str]) -> str:
    """The question itself, or one time in five with some words around it."""
    if rng.random() < 0.8:
        return question
    small = question if question.startswith("I ") else question[:1].lower() + question[1:]
    return rng.choice(forms).format(question, small.rstrip("?. "))


def careless(rng: random.Random, question: str) -> str:
    """The question as people type it: now and then in small letters, without its mark, or with "please"."""
    chance = rng.random()
    if chance < 0.1:
        return question.lower().rstrip("?.")
    if chance < 0.15:
        return question.rstrip("?.")
    if chance < 0.2:
        return question.rstrip("?.") + ", please?"
    return question
