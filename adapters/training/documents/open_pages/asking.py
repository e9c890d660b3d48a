"""How people ask on pages of made-up labels: about nouns, cells of tables and parties, with other words and slips."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.training.documents.fields import read_list

FORMS: Final[Mapping[str, list[str]]] = read_list("open_wordings.toml")
"""Wordings by what they are put around; see the file."""

_NOUN_FORMS: Final = (*read_list("wordings.toml")["seen"], *FORMS["nouns"])
TYPO_SHARE: Final = 0.06


def about_noun(rng: random.Random, nouns: Sequence[str], asks: Sequence[str]) -> str:
    """A question for what a noun names: a whole one, or a form around the noun."""
    if asks and rng.random() < 0.42:
        return typed(rng, rng.choice(asks))
    noun = rng.choice(nouns)
    form = "{}?" if rng.random() < 0.12 else rng.choice(_NOUN_FORMS)
    return typed(rng, form.format(noun))


def about_cell(rng: random.Random, row: str, column: str) -> str:
    """A question for the cell of a table."""
    return typed(rng, rng.choice(FORMS["cells"]).format(row, column))


def about_row(rng: random.Random, column: str, value: str, kind: str) -> str:
    """A question for the row that has a value. kind: what a row is."""
    return typed(rng, rng.choice(FORMS["rows"]).format(column, value, kind))


def about_party(rng: random.Random, noun: str, party: str) -> str:
    """A question for what one of two parties has."""
    return typed(rng, rng.choice(FORMS["parties"]).format(noun, party))


def typed(rng: random.Random, question: str) -> str:
    """The question as people type it: in small letters, in capitals, without its mark, in a context, with slips."""
    question = question[:1].upper() + question[1:] if rng.random() < 0.7 else question
    chance = rng.random()
    if chance < 0.09:
        question = question.lower().rstrip("?.")
    elif chance < 0.15:
        question = question.rstrip("?.")
    elif chance < 0.17:
        question = question.upper()
    elif chance < 0.21:
        question = question.rstrip("?.") + rng.choice((", please", " please?", ", thanks", "??", " ?"))
    elif chance < 0.26:
        question = f"{rng.choice(FORMS['before'])} {question}"
    elif chance < 0.29:
        question = f"{question} {rng.choice(FORMS['after'])}"
    return _slipped(rng, question) if rng.random() < TYPO_SHARE else question


def _slipped(rng: random.Random, question: str) -> str:
    """The question with one letter swapped with the next, doubled or left out, in a long word of small letters."""
    words = question.split(" ")
    long = [at for at, word in enumerate(words) if len(word) > 4 and word.isalpha() and word[1:].islower()]
    if not long:
        return question
    at = rng.choice(long)
    word, place = words[at], rng.randrange(1, len(words[at]) - 2)
    words[at] = rng.choice(
        (
            word[:place] + word[place + 1] + word[place] + word[place + 2 :],
            word[:place] + word[place] + word[place:],
            word[:place] + word[place + 1 :],
        )
    )
    return " ".join(words)


def open_words() -> Mapping[str, Any]:
    """open_words.toml."""
    return read_list("open_words.toml")
