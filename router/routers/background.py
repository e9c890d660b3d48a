"""The bundled background: features of ordinary images and questions, against which likeness is judged.

It holds centres of ordinary photos, drawn pictures of kinds that no adapter is made for, questions about images, and
plain chat. router.routers.make_background makes the file from the lists of questions that this module reads.

The mean of ordinary vectors is subtracted before vectors are compared, because a component that all vectors share
does not distinguish them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from adapters.prototypes import Prototypes, check_sizes
from models.engine import FeatureSizes
from router.choice import Query

BUNDLED = Path(__file__).parents[1] / "bundled" / "general.safetensors"

GENERAL = BUNDLED.with_name("general_questions.txt")
"""The questions that the background is made of."""

ASKED = BUNDLED.with_name("asked.txt")
"""The questions that routers are evaluated with."""

OTHER = "other"
DRAWN = ("screens", "pages", OTHER)
"""Groups of drawn pictures (router.negatives). The screens weigh as much as the photos, and as the others together."""

CHAT = "chat"
"""Section of both lists: questions that are about no image."""

SPECIAL = "special images"
"""Section of GENERAL: about images that some adapter might be for. Not used as examples of
ordinary questions."""

ANY_IMAGE, PHOTOS = "any image", "photos"
"""Sections of both lists: questions that fit any image, and questions about ordinary photos."""

NEAREST_IMAGES, NEAREST_QUESTIONS = 5, 3
"""Likeness is the mean cosine to this many nearest examples, so that one outlier does not decide."""

MOST_DOUBT = 0.3
"""The most that likeness to ordinary questions counts against an adapter, in units of cosine."""


def read_questions(file: Path) -> dict[str, list[str]]:
    """The questions of a list by section, in the file's order.

    A line in brackets begins a section; a line that begins with # is a comment.
    """
    sections: dict[str, list[str]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = questions = []
        elif line and not line.startswith("#"):
            questions.append(line)
    return sections


@dataclass(frozen=True)
class FeatureBackground:
    """Ordinary vectors of one kind, images or questions.

    mean: float32 [features]. examples: centred unit vectors, float32 [n, features]. share: the weight of each example,
    float32 [n], which sums to 1.
    """

    mean: NDArray[np.float32]
    examples: NDArray[np.float32]
    share: NDArray[np.float32]

    @classmethod
    def of(cls, mean: NDArray[np.float32], *groups: NDArray[np.float32]) -> FeatureBackground:
        """Makes a background from uncentred vectors.

        groups: examples as they were computed, not centred, [n, features] each. Every group has the same weight,
            whatever its number.
        """
        shares = [np.full(len(group), 1 / (len(groups) * len(group)), np.float32) for group in groups]
        return cls(mean, _centred(np.concatenate(groups), mean), np.concatenate(shares))

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors [..., features] minus the mean, scaled to length 1."""
        return _centred(vectors, self.mean)


@dataclass(frozen=True)
class QuestionLikeness:
    """A question compared with ordinary questions. All values are cosines, -1..1.

    vector: the question, centred, float32 [hidden]. ordinary: mean cosine to the nearest ordinary questions.
    about_images, chat: cosine to the nearest question about an image, and to the nearest plain chat.
    """

    vector: NDArray[np.float32]
    ordinary: float
    about_images: float
    chat: float

    def lead(self, own: float) -> float:
        """How much nearer the question is to an adapter's questions than to ordinary ones, at least -MOST_DOUBT.

        own: cosine to the adapter's questions. Many questions fit any image, so being ordinary is weak evidence.
        """
        return max(own - self.ordinary, -MOST_DOUBT)


@dataclass(frozen=True)
class Background:
    """The background of one model.

    chat: the number of question examples, counted from the end, that are plain chat. The others ask about an image.
    no_pages: the images without screens and pages of text, for an adapter that answers about those.
    """

    image: FeatureBackground
    question: FeatureBackground
    chat: int
    no_pages: FeatureBackground

    @property
    def sizes(self) -> FeatureSizes:
        """Of the model that this background was made with."""
        return FeatureSizes(text=len(self.question.mean), image=len(self.image.mean))

    def fits(self, query: Query) -> bool:
        """Whether the query's vectors have the sizes that those of the background's model have."""
        has_image_size = query.image is None or len(query.image) == self.sizes.image
        return len(query.words) == self.sizes.text and has_image_size

    def compare(self, query: Query) -> QuestionLikeness:
        """Compares the query's question with the ordinary questions."""
        vector = self.question.centred(query.words)
        cosines = self.question.examples @ vector  # [n]
        about_images, chat = cosines[: len(cosines) - self.chat], cosines[len(cosines) - self.chat :]
        ordinary = float(likeness(cosines, NEAREST_QUESTIONS))
        return QuestionLikeness(
            vector, ordinary, float(about_images.max(initial=-1)), float(chat.max(initial=-1))
        )


@cache
def bundled_background() -> Background:
    """The background in BUNDLED, read once."""

    tensors = {name: value.astype(np.float32) for name, value in load_file(BUNDLED).items()}
    drawn = [tensors[f"image.{group}"] for group in DRAWN]  # int8 in the file; only the direction counts
    screens, pages, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in drawn)
    mean, photos = tensors["image.mean"], tensors["image.examples"]
    return Background(
        FeatureBackground.of(mean, photos, screens, np.concatenate([pages, other])),
        FeatureBackground.of(tensors["question.mean"], tensors["question.examples"]),
        int(tensors["question.chat"][0]),
        FeatureBackground.of(mean, photos, other),
    )


def centre_prototypes(
    path: Path, prototypes: Prototypes, background: Background
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """An adapter's images [k, 1408] and questions [m, hidden] as centred unit vectors. path: for messages.

    Raises UserError when they were made with another model.
    """
    check_sizes(path, prototypes, background.sizes)
    image = prototypes.image.reshape(-1, background.sizes.image)
    question = prototypes.question.reshape(-1, background.sizes.text)
    return background.image.centred(image), background.question.centred(question)


def likeness(cosines: NDArray[np.float32], nearest: int) -> NDArray[np.float32]:
    """The mean of the `nearest` largest cosines along the last axis, [..., n] -> [...]; of all n when n is smaller."""
    count = min(nearest, cosines.shape[-1])
    largest = np.partition(cosines, -count, axis=-1)[..., -count:]
    return np.asarray(largest.mean(axis=-1), np.float32)


def _centred(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    apart = vectors - mean
    lengths = np.linalg.norm(apart, axis=-1, keepdims=True)
    return np.asarray(apart / np.maximum(lengths, 1e-9), np.float32)
