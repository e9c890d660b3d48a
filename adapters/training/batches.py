"""Selects the examples of each training step. They depend only on the step's number and the seed.

Every image comes once an epoch, in a new order. A share of the images with several questions is learnt as a
conversation, because a chat asks several questions about one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from adapters.training.data import TrainingRow
from adapters.training.token_rows import ExampleBuilder, TrainingExample, TrainingImage

STEP_TOKENS = 160
"""Approximate number of tokens in the examples of one step. Steps are small, so that there are many of them."""

CONVERSATION_SHARE = 0.25
MAX_TURNS = 4


@dataclass(frozen=True)
class ImageQuestions:
    """One image and the questions about it."""

    image: TrainingImage
    rows: tuple[TrainingRow, ...]


class BatchPlan:
    """An endless sequence of batches. `steps_an_epoch` steps see every image once.

    tokens: of all examples. step_tokens: approximate number of tokens in a step. most_steps: of an epoch; 0 is no
    limit, and images that are larger than a step then come several times.
    """

    def __init__(
        self,
        images: Sequence[ImageQuestions],
        builder: ExampleBuilder,
        seed: int,
        step_tokens: int = STEP_TOKENS,
        most_steps: int = 0,
    ) -> None:
        self._images, self._builder, self._seed = list(images), builder, seed
        sizes = [builder.questions(each.image, each.rows).size for each in self._images]
        self.tokens = sum(sizes)
        steps = max(1, round(self.tokens / step_tokens))
        self.steps_an_epoch = min(steps, most_steps) if most_steps else steps
        self._plan = lru_cache(maxsize=2)(self._planned)

    def step(self, number: int) -> list[TrainingExample]:
        """The examples of step `number`, from 0."""
        epoch, place = divmod(number, self.steps_an_epoch)
        chosen = self._plan(epoch)[place]
        return [self._example(epoch, index) for index in chosen]

    def _planned(self, epoch: int) -> list[list[int]]:
        """Indices of images for every step of one epoch, none of them empty."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
        count = self.steps_an_epoch
        if len(order) >= count:
            return [part.tolist() for part in np.array_split(order, count)]
        return [[int(order[step % len(order)])] for step in range(count)]

    def _example(self, epoch: int, index: int) -> TrainingExample:
        each = self._images[index]
        rng = np.random.default_rng([self._seed, epoch, index])
        rows = [each.rows[i] for i in rng.permutation(len(each.rows))]
        if len(rows) > 1 and rng.random() < CONVERSATION_SHARE:
            return self._builder.conversation(each.image, rows[:MAX_TURNS])
        return self._builder.questions(each.image, rows)
