"""The nearest-prototype router: an adapter suits a query that is nearer to its examples than ordinary queries are.

Training-free, over frozen features of the image and the question. The score of an adapter depends on its own prototypes
and the bundled background only, so that installing an adapter changes no other score. The image counts more than
the question, because many questions fit any image. An adapter whose examples have images is not a candidate for a
query without one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.prototypes import PROTOTYPES_FILE, Prototypes, read_prototypes
from router.choice import OTHER_MODEL, Candidate, Choice, Query, decide
from router.routers.adapter_file_cache import AdapterFileCache
from router.routers.background import (
    NEAREST_IMAGES,
    Background,
    QuestionLikeness,
    bundled_background,
    centre_prototypes,
    likeness,
)

QUESTION_WEIGHT = 0.3
"""Weight of the question's lead (cosine) beside the image's nearness, which is 1 for a typical image."""

THRESHOLD = 0.1
"""The weighted sum of both must exceed this. At 0 hardly any ordinary image passes. At 1 half of the adapter's own
images do."""

QUESTION_ALONE = 0.2
"""The lead that a question needs when there is no image to judge by."""

CHAT_LIKENESS, CHAT_LEAD = 0.55, 0.2
"""A question is plain chat when its cosine to one is at least CHAT_LIKENESS and exceeds that to any question about an
image by CHAT_LEAD."""

SHARPNESS = 8.0
"""Multiplier that converts the sum to log-odds."""

ORDINARY, OWN = 0.98, 0.1
"""Quantiles of likeness: 2% of ordinary images exceed the first, 90% of an adapter's own images exceed the second."""

LEAST_GAP = 0.1
"""Least difference between the likeness of a typical own image and the level. A few examples do not determine it."""


@dataclass(frozen=True)
class ScaledPrototypes:
    """An adapter's examples and the scale of their likeness.

    image, question: centred unit vectors, float32 [k, 1408] and [m, hidden]. level: the likeness of an image that has
    nearness 0. gap: the likeness above the level that has nearness 1.
    """

    image: NDArray[np.float32]
    question: NDArray[np.float32]
    level: float
    gap: float


class PrototypeRouter:
    """A router over the adapters in one directory. A file that changed is read again at the next choice."""

    def __init__(self, directory: Path, background: Background | None = None) -> None:
        self._background = background or bundled_background()
        self._adapters = AdapterFileCache(
            directory,
            PROTOTYPES_FILE,
            lambda path: scale_prototypes(path, read_prototypes(path), self._background),
        )

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        """The adapter that suits best, or none. Adapters without prototypes are never chosen."""
        if not self._background.fits(query):
            return OTHER_MODEL
        adapters = self._adapters.of(installed)
        able = {
            name: each for name, each in adapters.items() if query.image is not None or not len(each.image)
        }
        if not able:
            return self._adapters.no_candidate(installed)
        question = self._background.compare(query)
        image = None if query.image is None else self._background.image.centred(query.image)
        return decide([_candidate(name, each, image, question) for name, each in able.items()])


def scale_prototypes(path: Path, prototypes: Prototypes, background: Background) -> ScaledPrototypes:
    """An adapter's examples, with a scale from them and the ordinary images. path: for messages.

    Raises UserError when they were made with another model.
    """
    image, question = centre_prototypes(path, prototypes, background)
    level, gap = _scale(image, background.image.examples) if len(image) else (0.0, LEAST_GAP)
    return ScaledPrototypes(image, question, level, gap)


def _scale(own: NDArray[np.float32], ordinary: NDArray[np.float32]) -> tuple[float, float]:
    """Level and gap. own: [k, features]. ordinary: [n, features].

    Each own example is compared with the other own ones. If ordinary images are as near as own ones (an adapter for a
    kind of ordinary image), the level is that of the own ones, and the question decides.
    """
    reached = float(np.quantile(likeness(ordinary @ own.T, NEAREST_IMAGES), ORDINARY))
    if len(own) <= NEAREST_IMAGES:
        return reached, LEAST_GAP
    among = own @ own.T  # [k, k], cosines
    np.fill_diagonal(among, -1.0)  # an example is not its own neighbour
    least, typical = (float(value) for value in np.quantile(likeness(among, NEAREST_IMAGES), (OWN, 0.5)))
    level = min(reached, least)
    return level, max(typical - level, LEAST_GAP)


def _candidate(
    name: str, adapter: ScaledPrototypes, image: NDArray[np.float32] | None, question: QuestionLikeness
) -> Candidate:
    """Scores one adapter.

    image: centred. Plain chat under an image gets a score below 0, whatever the image shows.
    """
    own = float(likeness(adapter.question @ question.vector, 1)) if len(adapter.question) else None
    seen = (
        float(likeness(adapter.image @ image, NEAREST_IMAGES))
        if image is not None and len(adapter.image)
        else None
    )
    lead = 0.0 if own is None else question.lead(own)
    if seen is None:
        measure = lead - QUESTION_ALONE
    elif is_chat(question, own):
        measure = -QUESTION_WEIGHT
    else:
        measure = (seen - adapter.level) / adapter.gap + QUESTION_WEIGHT * lead - THRESHOLD
    return Candidate(name, SHARPNESS * measure, seen, own)


def is_chat(question: QuestionLikeness, own: float | None) -> bool:
    """Whether a question is plain chat.

    own: cosine to the adapter's questions, None when it has none; a question nearer to these is not chat.
    """
    other = max(question.about_images, -1.0 if own is None else own)
    return question.chat >= CHAT_LIKENESS and question.chat - other >= CHAT_LEAD
