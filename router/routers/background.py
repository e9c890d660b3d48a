"""What is common to most images and questions: the background against which likeness is judged.

Features of ordinary photos and of plain chat, and the heads that tell chat from questions about an image, bundled
with the app (router.routers.make_background makes the file).
Vectors are compared after the mean of ordinary ones is taken away: what all have in common says nothing. Knows
nothing of adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from adapters.prototypes import Prototypes
from models.core.errors import UserError
from router.choice import Query
from router.routers.subject import SubjectHead

BUNDLED = Path(__file__).parents[1] / "bundled" / "general.safetensors"

NEAREST_IMAGES, NEAREST_QUESTIONS = 5, 3
"""Likeness is the mean cosine to so many nearest examples: one alone may be an odd one."""

MOST_DOUBT = 0.3


@dataclass(frozen=True)
class Background:
    """Of one kind of vector. mean: float32 [features]. examples: centred unit vectors, float32 [n, features]."""

    mean: NDArray[np.float32]
    examples: NDArray[np.float32]

    @cached_property
    def products(self) -> NDArray[np.float32]:
        """Of every example with every other, [n, n]."""
        return self.examples @ self.examples.T

    @classmethod
    def of(cls, mean: NDArray[np.float32], vectors: NDArray[np.float32]) -> Background:
        """vectors: examples as they are, [n, features]."""
        return cls(mean, _apart(vectors, mean))

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors [..., features] without what all have in common, of length 1 again."""
        return _apart(vectors, self.mean)


@dataclass(frozen=True)
class General:
    """chat: how many of the questions, the last ones, are plain chat; the others ask about an image.

    words, state: heads over a question's vector and over the language model's state after it (router.routers.subject).
    """

    image: Background
    question: Background
    chat: int
    words: SubjectHead
    state: SubjectHead

    def fits(self, words: NDArray[np.float32]) -> bool:
        """Whether a question's vector is of the language model that this background was made with."""
        return len(words) == len(self.question.mean)

    def held_against(self, query: Query) -> Asked:
        """The query's question beside ordinary ones."""
        vector = self.question.centred(query.words)
        cosines = self.question.examples @ vector
        about_images, chat = cosines[: len(cosines) - self.chat], cosines[len(cosines) - self.chat :]
        ordinary = float(likeness(cosines, NEAREST_QUESTIONS))
        return Asked(vector, ordinary, float(about_images.max(initial=-1)), float(chat.max(initial=-1)))


@dataclass(frozen=True)
class Asked:
    """A question, held against ordinary ones. vector: centred. ordinary: likeness to all of them; about_images,
    chat: to the nearest one that asks about an image, and to the nearest that is plain chat."""

    vector: NDArray[np.float32]
    ordinary: float
    about_images: float
    chat: float

    def nearer(self, asked: float) -> float:
        """By how much it is nearer to an adapter's questions, to which its likeness is `asked`, than to ordinary
        ones. Many questions fit any image: being ordinary counts against an adapter by MOST_DOUBT at most."""
        return max(asked - self.ordinary, -MOST_DOUBT)


@cache
def general() -> General:
    """The bundled background."""
    tensors = {name: value.astype(np.float32) for name, value in load_file(BUNDLED).items()}
    image, question = (
        Background.of(tensors[f"{kind}.mean"], tensors[f"{kind}.examples"]) for kind in ("image", "question")
    )
    words, state = (
        SubjectHead(tensors[f"{kind}.weight"], float(tensors[f"{kind}.bias"][0]))
        for kind in ("words", "state")
    )
    return General(image, question, int(tensors["question.chat"][0]), words, state)


def centred(
    path: Path, prototypes: Prototypes, background: General
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An adapter's images [k, 1408] and questions [m, hidden] as they are compared. path: for messages.

    Raises UserError when the questions are of another language model.
    """
    hidden = len(background.question.mean)
    if len(prototypes.question) and prototypes.question.shape[1] != hidden:
        raise UserError(
            f"{path} was made with another language model ({prototypes.question.shape[1]} features of a question, "
            f"not {hidden}); install the adapter again."
        )
    question = prototypes.question.reshape(-1, hidden)
    return background.image.centred(prototypes.image), background.question.centred(question)


def likeness(cosines: NDArray[np.float32], nearest: int) -> NDArray[np.float32]:
    """The mean of the `nearest` largest along the last axis; of all when there are fewer."""
    count = min(nearest, cosines.shape[-1])
    largest = np.partition(cosines, -count, axis=-1)[..., -count:]
    return np.asarray(largest.mean(axis=-1), np.float32)


def _apart(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    apart = vectors - mean
    lengths = np.linalg.norm(apart, axis=-1, keepdims=True)
    return np.asarray(apart / np.maximum(lengths, 1e-9), np.float32)
