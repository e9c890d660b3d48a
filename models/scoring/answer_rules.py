"""Decides whether an answer is right, for the model card, the adapters' cards and `eval`.

The rule depends on the type of the question:

- `main_object`: the answer names the object. Accepted names are the expected label and, when the label is the
  name of a class of the tower, every WordNet lemma of its synset ("sandbar", "sand bar"). The answer is right when
  an accepted name stands in it as whole words, written together or apart ("bull frog", "bullfrog"), and is not
  denied right before ("not a tench"). A broader word ("dog" for "beagle") is wrong. Two classes that share a name
  (crane, maillot) share their lemmas.
- `fact`: one of the expected answers, which are separated by "|", stands in the answer in the same way.
- `date`: the same day, however written (models.scoring.normal_forms.as_date).
- `company`, `address`: the same letters and digits; case, accents, punctuation and spaces do not count.
- `json`: an object with the same keys, each value right by the rule that has the key's name.
- `read_off`: a number within 5% of the expected one.
- any other type: when the expected answer is a number, the same number ("12.50", "12.5", "RM 12.50"); else the
  same words, where case, accents, punctuation, hyphens and plural endings do not count.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from models.scoring.normal_forms import as_date, as_name, as_number

CLASSES = Path(__file__).parents[1] / "bundled" / "edge-vlm-135m" / "classes.tsv"
"""WordNet id, tab, lemmas separated by ", ": the tower's classes in the order of its outputs."""

READ_OFF = Decimal("0.05")
"""Largest relative error of a number that is read off an axis."""

_KEEPS_S = ("ss", "us", "is")
_DENIED = re.compile(r"\b(?:not|no|isn t|never)(?: (?:a|an|the|any))?$")


@cache
def read_classes() -> dict[str, tuple[str, ...]]:
    """WordNet id -> lemmas, the name first; 1000 classes, sorted by id."""
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    return {wnid: tuple(lemmas.split(", ")) for wnid, lemmas in (line.split("\t") for line in lines)}


def normalise(text: str) -> str:
    """Lower case words without accents, punctuation and plural endings, separated by single spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(_singular(word) for word in re.findall(r"[a-z0-9]+", plain.lower()))


@cache
def accepted_names(label: str) -> frozenset[str]:
    """Every normalised name that counts as `label`."""
    wanted = normalise(label)
    names = {wanted}
    for lemmas in read_classes().values():
        normalised = [normalise(lemma) for lemma in lemmas]
        if normalised[0] == wanted:
            names.update(normalised)
    return frozenset(name for name in names if name)


def names_object(answer: str, label: str) -> bool:
    """Whether `answer` names the object `label`, by the rule above."""
    said = normalise(answer)
    return any(_stands_in(name, said) for name in accepted_names(label))


def is_right(kind: str, expected: str, answer: str) -> bool:
    """Whether the answer to a question of this type is right, by the rules above."""
    if kind == "main_object":
        return names_object(answer, expected)
    if kind in ("fact", "json"):
        return _is_fact(answer, expected) if kind == "fact" else all(marks(kind, expected, answer).values())
    if kind == "date":
        day = as_date(expected)
        return as_date(answer) == day if day else _same_words(answer, expected)
    if kind in ("company", "address"):
        return as_name(answer) == as_name(expected)
    number = as_number(expected)
    if number is None:
        return _same_words(answer, expected)
    said = as_number(answer)
    return said is not None and abs(said - number) <= (READ_OFF * abs(number) if kind == "read_off" else 0)


def _is_fact(answer: str, expected: str) -> bool:
    said = normalise(answer)
    return any(_stands_in(normalise(each), said) for each in expected.split("|"))


def marks(kind: str, expected: str, answer: str) -> dict[str, bool]:
    """Whether one answer is right, by the name under which it is counted.

    The names are the type itself and, for `json`, "json parses" (the answer is an object) and "json KEY" for each
    expected key.
    """
    if kind != "json":
        return {kind: is_right(kind, expected, answer)}
    wanted, said = _object(expected) or {}, _object(answer)
    fields = {
        key: said is not None
        and isinstance(said.get(key), str | int | float)
        and is_right(key, str(value), str(said[key]))
        for key, value in wanted.items()
    }
    whole = said is not None and said.keys() == wanted.keys() and all(fields.values())
    return {kind: whole, "json parses": said is not None} | {
        f"json {key}": right for key, right in fields.items()
    }


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _same_words(answer: str, expected: str) -> bool:
    """Whether both have the same words. Texts without any letter that `normalise` keeps are compared by `as_name`."""
    words = normalise(expected)
    return normalise(answer) == words if words else as_name(answer) == as_name(expected)


def _stands_in(name: str, said: str) -> bool:
    """Whether consecutive words of `said`, run together, are `name` run together, and are not denied."""
    wanted, words = name.replace(" ", ""), said.split()
    for first in range(len(words)):
        run = ""
        for word in words[first:]:
            run += word
            if len(run) >= len(wanted):
                break
        if run == wanted and not _DENIED.search(" ".join(words[:first])):
            return True
    return False


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(_KEEPS_S):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "xes", "sses", "buses")) else word[:-1]
