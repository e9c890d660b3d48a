"""Which lessons are learnt at which step. A step's lessons depend on its number and the seed alone.

Every image comes once a round, in a new order; a share of the images with several questions is learnt as a
conversation, since that is how a chat asks. Knows nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from adapters.training.data import TrainingRow
from adapters.training.token_rows import Lesson, SeenImage, Writer

STEP_TOKENS = 160
"""A step's lessons have about so many tokens together; small steps, many of them."""

CONVERSATION_SHARE = 0.25
MAX_TURNS = 4


@dataclass(frozen=True)
class Material:
    """One image and what is asked about it."""

    image: SeenImage
    rows: tuple[TrainingRow, ...]


class Course:
    """Never ends; `steps_a_round` steps see every image once."""

    def __init__(
        self, materials: Sequence[Material], writer: Writer, seed: int, step_tokens: int = STEP_TOKENS
    ) -> None:
        self._materials, self._writer, self._seed = list(materials), writer, seed
        sizes = [writer.questions(each.image, each.rows).size for each in self._materials]
        self.tokens = sum(sizes)
        self.steps_a_round = max(1, round(self.tokens / step_tokens))
        self._plan = lru_cache(maxsize=2)(self._planned)

    def step(self, number: int) -> list[Lesson]:
        """The lessons of step `number`, from 0."""
        chapter, place = divmod(number, self.steps_a_round)
        chosen = self._plan(chapter)[place]
        return [self._lesson(chapter, index) for index in chosen]

    def _planned(self, chapter: int) -> list[list[int]]:
        """Indices of materials for every step of one round, none of them empty."""
        order = np.random.default_rng([self._seed, chapter]).permutation(len(self._materials))
        count = self.steps_a_round
        if len(order) >= count:
            return [part.tolist() for part in np.array_split(order, count)]
        return [[int(order[step % len(order)])] for step in range(count)]

    def _lesson(self, chapter: int, index: int) -> Lesson:
        each = self._materials[index]
        rng = np.random.default_rng([self._seed, chapter, index])
        rows = [each.rows[i] for i in rng.permutation(len(each.rows))]
        if len(rows) > 1 and rng.random() < CONVERSATION_SHARE:
            return self._writer.conversation(each.image, rows[:MAX_TURNS])
        return self._writer.questions(each.image, rows)
