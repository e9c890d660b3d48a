"""A router that has the language model name an adapter, as MR-LoRA does.

The frozen base model reads the image's tokens, each adapter's description with a few example questions, and the
question. Only installed names and "none" are scored, so the answer cannot be malformed. The score of a name is how
much more probable it is than after a question without content and without the image, because a small model
prefers some names whatever the question is (contextual calibration, arXiv 2102.09690).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.store.manifest import MANIFEST_FILE
from adapters.store.record import read_manifest
from models.core.errors import UserError
from models.engine import TextScorer
from router.choice import Candidate, Choice, Query, decide
from router.routers.adapter_file_cache import AdapterFileCache
from router.types import Reason

NONE = "none"
NONE_IS_FOR = "Photos of animals, people and everyday things, and conversation."
NONE_EXAMPLES = ("What animal is this?", "Tell me a joke.", "Describe this photo.")
WITHOUT_CONTENT = "N/A"
EXAMPLES = 3
"""Example questions of each adapter; fewer when the prompt would be too long for the model."""

MOST_CHARACTERS = 120
"""The longest description or question; a longer one is cut."""


@dataclass(frozen=True)
class AdapterDescription:
    """An adapter's description and example questions, from its manifest."""

    description: str
    questions: tuple[str, ...]


class ModelRouter:
    """A router over the adapters in one directory, by their manifests."""

    def __init__(self, directory: Path, engine: TextScorer) -> None:
        self._engine = engine
        self._descriptions = AdapterFileCache(directory, MANIFEST_FILE, _describe)
        self._baseline: dict[str, NDArray[np.float64]] = {}

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that the model names, or none. Adapters without a manifest are never chosen."""
        known = self._descriptions.of(installed)
        if not known:
            return self._descriptions.no_candidate(installed)
        names = sorted(known)
        for examples in range(EXAMPLES, -1, -1):
            introduction = _introduction(known, names, examples)
            try:
                gained = self._gained(introduction, names, query)
            except ValueError:
                continue
            scores = gained - gained[-1]
            candidates = [
                Candidate(name, float(score), None, None)
                for name, score in zip(names, scores[:-1], strict=True)
            ]
            return decide(candidates)
        return Choice(None, 1.0, Reason("too_many_adapters"))

    def _gained(self, introduction: str, names: Sequence[str], query: Query) -> NDArray[np.float64]:
        """Logarithm of each name's probability divided by its baseline, "none" last: [names + 1].

        The baseline of the last introduction is kept. Raises ValueError when the prompt is too long.
        """
        options = [f" {name}\n" for name in (*names, NONE)]
        if introduction not in self._baseline:
            prompt = f"{introduction}{WITHOUT_CONTENT} ->"
            self._baseline = {introduction: self._engine.continuation_shares(prompt, options)}
        prompt = f"{introduction}{_one_line(query.question)} ->"
        shares = self._engine.continuation_shares(prompt, options, query.picture)
        gained: NDArray[np.float64] = np.log(shares + 1e-12) - np.log(self._baseline[introduction] + 1e-12)
        return gained


def _describe(path: Path) -> AdapterDescription:
    manifest, _ = read_manifest(path.parent)
    if manifest is None:
        raise UserError(f"There is no {path}.")
    questions = tuple(dict.fromkeys(example.question for example in manifest.examples))
    return AdapterDescription(manifest.description, questions)


def _introduction(known: Mapping[str, AdapterDescription], names: Sequence[str], examples: int) -> str:
    """The adapters with their descriptions, then one example question of each in turn, as few-shot examples."""
    described = [(name, known[name]) for name in names] + [
        (NONE, AdapterDescription(NONE_IS_FOR, NONE_EXAMPLES))
    ]
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
