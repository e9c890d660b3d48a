"""When an answer names what a photo shows: the one rule behind the model card's figures and `eval`.

The rule. Accepted names are the expected label and, when the label is the name of a class of the tower, every
WordNet lemma of its synset ("sandbar", "sand bar"). Answer and names are compared in lower case, without
accents, punctuation or hyphens, with each word's plural ending taken off. The answer is right when an
accepted name stands in it as whole words, written together or apart ("bull frog", "bullfrog"), and is not
denied right before ("not a tench"). Only in this direction: a broader word ("dog" for "beagle") is wrong.
Two classes that share a name (crane, maillot) share their lemmas. Knows nothing of models; classes.tsv is
its only data.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

CLASSES = Path(__file__).parent / "bundled" / "edge-vlm-135m" / "classes.tsv"
"""WordNet id, tab, lemmas separated by ", ": the tower's classes in the order of its outputs."""

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
    """main_object: the answer names the object, synonyms count. Everything else: the same words, where case,
    accents, punctuation and plural endings do not count."""
    if kind == "main_object":
        return names_object(answer, expected)
    return normalise(answer) == normalise(expected)


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
