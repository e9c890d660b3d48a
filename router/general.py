"""What is common to most images and questions: the background against which likeness is judged.

Features of ordinary photos and of plain chat, bundled with the app (router.make_general makes the file).
Vectors are compared after taking away what all have in common, feature by feature, so that two images are
alike when they share what is rare. Knows nothing of adapters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

BUNDLED = Path(__file__).parent / "bundled" / "general.safetensors"

NEAREST = 3
"""Likeness is the mean cosine to so many nearest examples: one alone may be an odd one."""


@dataclass(frozen=True)
class Background:
    """Of one kind of vector. mean, spread: float32 [features]; examples: unit vectors [n, features], centred."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    examples: NDArray[np.float32]

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors [..., features] without what is common, of length 1 again."""
        apart = (vectors - self.mean) / self.spread
        lengths = np.linalg.norm(apart, axis=-1, keepdims=True)
        return (apart / np.maximum(lengths, np.float32(1e-9))).astype(np.float32)


@dataclass(frozen=True)
class General:
    image: Background
    question: Background


@cache
def general() -> General:
    """The bundled background."""
    tensors = {name: value.astype(np.float32) for name, value in load_file(BUNDLED).items()}

    def of(kind: str) -> Background:
        whole = Background(tensors[f"{kind}.mean"], tensors[f"{kind}.spread"], tensors[f"{kind}.examples"])
        return Background(whole.mean, whole.spread, whole.centred(whole.examples))

    return General(of("image"), of("question"))


def likeness(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the NEAREST largest along the last axis; of all when there are fewer."""
    count = min(NEAREST, cosines.shape[-1])
    largest = np.partition(cosines, -count, axis=-1)[..., -count:]
    return largest.mean(axis=-1, dtype=np.float32)
