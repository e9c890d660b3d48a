"""The vision tower's 1000 classes as words: names, kinds, and plain facts about each kind.

Names are WordNet's first lemmas, bundled with the model as classes.tsv. kinds.toml has the kinds and facts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.scoring.answer_rules import read_classes

KINDS = Path(__file__).with_name("kinds.toml")


@dataclass(frozen=True)
class Kind:
    """A kind of object. facts: an answer by topic, which is "eat", "live", "use", "made" or "fact"."""

    word: str
    group: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class ClassName:
    """A class of the tower. name: WordNet's first lemma."""

    name: str
    kind: Kind


def load_classes() -> tuple[ClassName, ...]:
    """All 1000 classes, in the order of the tower's outputs."""
    kinds = _kind_of_each()
    return tuple(
        ClassName(lemmas[0], kind) for (_, lemmas), kind in zip(read_classes().items(), kinds, strict=True)
    )


def _kind_of_each() -> list[Kind]:
    """The kind of each class. kinds.toml lists class numbers and ranges such as "3-9"."""
    found: dict[int, Kind] = {}
    for entry in tomllib.loads(KINDS.read_text(encoding="utf-8"))["kind"]:
        facts = {key: value for key, value in entry.items() if key not in ("word", "group", "classes")}
        kind = Kind(entry["word"], entry["group"], facts)
        for part in entry["classes"].split():
            first, _, last = part.partition("-")
            found.update(dict.fromkeys(range(int(first), int(last or first) + 1), kind))
    return [found[index] for index in range(len(found))]
