"""The router that asks the language model itself, as MR-LoRA does: it reads what each adapter is for, and names one.

The frozen base model reads the image's tokens, each adapter's one-line description with a few example questions,
and the question. Only installed names and "none" can be said, so an answer cannot be malformed. How much more
probable a name is than after a question without content, and without the image, is its score: a small model
prefers some names whatever it is asked (contextual calibration, arXiv 2102.09690). Knows no prototypes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adapters.store.manifest import MANIFEST_FILE
from adapters.store.record import read_manifest
from models.core.errors import UserError
from models.core.types import Image
from router.choice import Candidate, Choice, Query, decide
from router.reason import Reason
from router.routers.prototype_cache import Registry

NONE = "none"
NONE_IS_FOR = "Photos of animals, people and everyday things, and conversation."
NONE_EXAMPLES = ("What animal is this?", "Tell me a joke.", "Describe this photo.")
WITHOUT_CONTENT = "N/A"
EXAMPLES = 3
"""Questions of each adapter; fewer when the list would be too long for the model."""

MOST_CHARACTERS = 120
"""Of a description and of a question: nobody's may push the others out."""


class Speaker(Protocol):
    """models.engine.Engine is one."""

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]:
        """Raises ValueError when the text is too long."""
        ...


@dataclass(frozen=True)
class Described:
    """What an adapter says of itself: what it is for, and questions it answers."""

    description: str
    questions: tuple[str, ...]


class ModelRouter:
    """A router over the adapters in one directory, by their manifests."""

    def __init__(self, directory: Path, speaker: Speaker) -> None:
        self._speaker = speaker
        self._registry = Registry(directory, MANIFEST_FILE, _describe)
        self._usual: dict[str, NDArray[np.float64]] = {}

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that the model names, or none. Adapters without a manifest are never chosen."""
        known = self._registry.of(installed)
        if not known:
            return self._registry.no_candidate(installed)
        names = sorted(known)
        for examples in range(EXAMPLES, -1, -1):
            introduction = _introduction(known, names, examples)
            try:
                gained = self._gained(introduction, names, query)
            except ValueError:
                continue
            scores = gained - gained[-1]
            return decide(
                [Candidate(n, float(s), None, None) for n, s in zip(names, scores, strict=False)], chat=False
            )
        return Choice(None, 1.0, Reason("too_many_adapters"))

    def _gained(self, introduction: str, names: Sequence[str], query: Query) -> NDArray[np.float64]:
        """By name, "none" last: the logarithm of how much more probable it is than usual."""
        options = [f" {name}\n" for name in (*names, NONE)]
        if introduction not in self._usual:
            asked = f"{introduction}{WITHOUT_CONTENT} ->"
            self._usual = {introduction: self._speaker.continuation_shares(asked, options)}
        text = f"{introduction}{_one_line(query.question)} ->"
        shares = self._speaker.continuation_shares(text, options, query.picture)
        gained: NDArray[np.float64] = np.log(shares + 1e-12) - np.log(self._usual[introduction] + 1e-12)
        return gained


def _describe(path: Path) -> Described:
    manifest, _ = read_manifest(path.parent)
    if manifest is None:
        raise UserError(f"There is no {path}.")
    questions = tuple(dict.fromkeys(example.question for example in manifest.examples))
    return Described(manifest.description, questions)


def _introduction(known: Mapping[str, Described], names: Sequence[str], examples: int) -> str:
    """The list of adapters, then examples of each in turn: the model goes on with what it has seen."""
    described = [(name, known[name]) for name in names] + [(NONE, Described(NONE_IS_FOR, NONE_EXAMPLES))]
    lines = [f"{name}: {_one_line(each.description)}" for name, each in described]
    for number in range(examples):
        lines += [
            f"{_one_line(each.questions[number])} -> {name}"
            for name, each in described
            if number < len(each.questions)
        ]
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MOST_CHARACTERS]
