"""The fields of pages, the words that pages are made of, and the other lists beside this module."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
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
class FieldKind:
    """An entry of fields.toml."""

    value: str
    labels: tuple[str, ...]
    nouns: tuple[str, ...]
    asks: tuple[str, ...]
    like: frozenset[str]


@cache
def fields() -> Mapping[str, FieldKind]:
    """fields.toml by name. A field is like every field that names it."""
    content = read_list("fields.toml")
    like = {name: set(each["like"].split()) for name, each in content.items()}
    for name, others in list(like.items()):
        for other in others:
            like[other].add(name)
    return {
        name: FieldKind(
            each["value"],
            tuple(each["labels"].split("|")),
            tuple(each["nouns"].split("|")),
            tuple(each["asks"].split("|")),
            frozenset(like[name]),
        )
        for name, each in content.items()
    }
