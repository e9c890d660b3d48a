"""What is common to most images and questions: the background against which likeness is judged.

Features of ordinary photos and of plain chat, bundled with the app (router.make_general makes the file).
Vectors are compared after the mean of ordinary ones is taken away: what all have in common says nothing. Knows
nothing of adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

BUNDLED = Path(__file__).parent / "bundled" / "general.safetensors"

NEAREST_IMAGES, NEAREST_QUESTIONS = 5, 3
"""Likeness is the mean cosine to so many nearest examples: one alone may be an odd one."""


@dataclass(frozen=True)
class Background:
    """Of one kind of vector. mean: float32 [features]. examples: centred unit vectors, float32 [n, features]."""

    mean: NDArray[np.float32]
    examples: NDArray[np.float32]

    @classmethod
    def of(cls, mean: NDArray[np.float32], vectors: NDArray[np.float32]) -> Background:
        """vectors: examples as they are, [n, features]."""
        return cls(mean, _apart(vectors, mean))

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors [..., features] without what all have in common, of length 1 again."""
        return _apart(vectors, self.mean)


@dataclass(frozen=True)
class General:
    """chat: how many of the questions, the last ones, are plain chat; the others ask about an image."""

    image: Background
    question: Background
    chat: int


@cache
def general() -> General:
    """The bundled background."""
    tensors = {name: value.astype(np.float32) for name, value in load_file(BUNDLED).items()}
    image, question = (
        Background.of(tensors[f"{kind}.mean"], tensors[f"{kind}.examples"]) for kind in ("image", "question")
    )
    return General(image, question, int(tensors["question.chat"][0]))


def likeness(cosines: NDArray[np.float32], nearest: int) -> NDArray[np.float32]:
    """The mean of the `nearest` largest along the last axis; of all when there are fewer."""
    count = min(nearest, cosines.shape[-1])
    largest = np.partition(cosines, -count, axis=-1)[..., -count:]
    return np.asarray(largest.mean(axis=-1), np.float32)


def _apart(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    apart = vectors - mean
    lengths = np.linalg.norm(apart, axis=-1, keepdims=True)
    return np.asarray(apart / np.maximum(lengths, 1e-9), np.float32)
