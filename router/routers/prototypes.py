"""The nearest-prototype router: an adapter suits what is nearer to its examples than ordinary things are.

Training-free, over frozen features of the image and the question. An adapter's score depends on its own
prototypes and on the bundled background, never on other adapters: installing one changes no other's score.
The image counts more than the question, since many questions fit any image. An adapter whose examples have
images is out of the question without one. Knows nothing of adapters' weights or of how answers come about.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, Prototypes, read_prototypes
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide
from router.routers.background import NEAREST_IMAGES, Asked, General, centred, general, likeness
from router.routers.prototype_cache import Registry

QUESTION_WEIGHT = 0.3
"""Of a question's likeness, beside an image's nearness of 1 for a typical one."""

THRESHOLD = 0.1
"""What both together must reach: 0 is what hardly an ordinary image does, 1 what half of its own do."""

QUESTION_ALONE = 0.2
"""How much nearer to an adapter's questions than to ordinary ones a question must be, when it is all there is."""

CHAT_LIKENESS, CHAT_LEAD = 0.55, 0.2
"""A question is plain chat when it is so like one, and so much less like any about an image."""

SHARPNESS = 8.0
"""From these measures to logarithms of odds."""

ORDINARY, OWN = 0.98, 0.1
"""Quantiles of likeness: what hardly an ordinary image exceeds, and what most of an adapter's own do."""

LEAST_GAP = 0.1
"""A typical image of its own lies at least so far above; two or three examples say little of the rest."""


@dataclass(frozen=True)
class Known:
    """An adapter as the router knows it. image, question: centred unit vectors [k, 1408] and [m, hidden].

    level: the likeness of images that has a nearness of 0; gap: what lies between that and a nearness of 1.
    """

    image: NDArray[np.float32]
    question: NDArray[np.float32]
    level: float
    gap: float


class PrototypeRouter:
    """A router over the adapters in one directory; what changed on disk is read again at the next choice."""

    def __init__(self, directory: Path, background: General | None = None) -> None:
        self._background = background or general()
        self._registry = Registry(
            directory, PROTOTYPES_FILE, lambda path: calibrated(path, read_prototypes(path), self._background)
        )

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without prototypes are never chosen."""
        if not self._background.fits(query.words):
            return OTHER_MODEL
        known = self._registry.of(installed)
        able = {name: each for name, each in known.items() if query.image is not None or not len(each.image)}
        if not able:
            return self._registry.no_candidate(installed)
        asked = self._background.held_against(query)
        image = None if query.image is None else self._background.image.centred(query.image)
        candidates = [judge(name, each, image, asked) for name, each in able.items()]
        best = max(candidates, key=lambda each: each.score)
        return decide(candidates, chat=is_chat(asked, best.question))


def calibrated(path: Path, prototypes: Prototypes, background: General) -> Known:
    """An adapter with its scale, from its own examples and ordinary ones. path: for messages.

    Raises UserError when the questions are of another language model.
    """
    image, question = centred(path, prototypes, background)
    level, gap = _scale(image, background.image.examples) if len(image) else (0.0, LEAST_GAP)
    return Known(image, question, level, gap)


def _scale(own: NDArray[np.float32], ordinary: NDArray[np.float32]) -> tuple[float, float]:
    """Level and gap. own [k, features], ordinary [n, features]; each of its own is held against the others.

    An adapter for a kind of ordinary images has no level that keeps these out: then the question decides.
    """
    reached = float(np.quantile(likeness(ordinary @ own.T, NEAREST_IMAGES), ORDINARY))
    if len(own) <= NEAREST_IMAGES:
        return reached, LEAST_GAP
    among = own @ own.T
    np.fill_diagonal(among, -1.0)  # never among the nearest
    least, typical = (float(value) for value in np.quantile(likeness(among, NEAREST_IMAGES), (OWN, 0.5)))
    level = min(reached, least)
    return level, max(typical - level, LEAST_GAP)


def judge(name: str, known: Known, image: NDArray[np.float32] | None, question: Asked) -> Candidate:
    """image: centred. "Thank you" under an image is no question about it, whatever the image shows."""
    asked = float(likeness(known.question @ question.vector, 1)) if len(known.question) else None
    seen = (
        float(likeness(known.image @ image, NEAREST_IMAGES))
        if image is not None and len(known.image)
        else None
    )
    about = 0.0 if asked is None else question.nearer(asked)
    if seen is None:
        measure = about - QUESTION_ALONE
    elif is_chat(question, asked):
        measure = -QUESTION_WEIGHT
    else:
        measure = (seen - known.level) / known.gap + QUESTION_WEIGHT * about - THRESHOLD
    return Candidate(name, SHARPNESS * measure, seen, asked)


def is_chat(question: Asked, asked: float | None) -> bool:
    """asked: likeness to an adapter's own questions, which may be more like it than chat is."""
    other = max(question.about_images, -1.0 if asked is None else asked)
    return question.chat >= CHAT_LIKENESS and question.chat - other >= CHAT_LEAD
