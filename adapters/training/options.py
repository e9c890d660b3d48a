"""What is asked of a training, where it works, and what it is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.store.manifest import ReadsText
from adapters.training.data import TrainingRow
from adapters.training.learning import Step
from adapters.training.own_heads.heads import OwnHead
from models.hub.store import ModelFiles


@dataclass(frozen=True)
class Options:
    """The options of a training.

    rank, alpha: of the LoRA. learning_rate: the highest. ocr, chart_ranks: see adapters.store.manifest.PromptPolicy.
    steps: the most there are; 0 takes as many as adapters.training.train says. minutes: of learning at most, over
    which the learning rate falls by the clock; 0 is no limit. own_head: whether the adapter gets heads of its own;
    "auto" keeps those that are better than the commonest answer on held-out images. start_from: an adapter's folder,
    with whose LoRA training begins; None begins with the model's own LoRA for images, which has learnt to read image
    tokens. Either may have a smaller rank.
    """

    rank: int = 16
    alpha: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    ocr: ReadsText = "never"
    chart_ranks: bool = False
    own_head: OwnHead = "auto"
    start_from: Path | None = None


@dataclass(frozen=True)
class Workplace:
    """Files and threads of a training.

    files: the base model. cache_dir: the app's cache. checkpoint: of this run.
    router: the model whose features the router reads; None for the base model's own.
    """

    files: ModelFiles
    cache_dir: Path
    checkpoint: Path
    threads: int
    router: ModelFiles | None = None


def heads_file(place: Workplace) -> Path:
    """Where the own heads of this run are kept until it is done, so that it can be resumed."""
    return place.checkpoint.with_suffix(".heads.npz")


Progress = Callable[[str | Step], None]
"""Called with a line of text for each stage, and with every step of the optimisation."""


def recipe_of(rows: Sequence[TrainingRow], choices: object) -> str:
    """sha256 (hex) of everything that decides a result: the rows, and the choices that it depends on."""
    content = [
        choices,
        [[row.view, row.question, row.answer, row.type, sorted(row.labels.items())] for row in rows],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
