"""Images and their questions as token sequences to learn from, through the very prompt builder that answers.

All questions about an image share what comes before them (the trunk); each goes on in a branch of its own, or
they follow one another as the turns of one conversation. Only answers, and the token that ends them, are
learnt. Knows nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.training.data import TrainingRow
from models.core.types import Image, Message
from models.language.prompt import EncodedImage, PromptBuilder
from models.language.tokenizer import Tokenizer
from models.training.examples import END, NOT_LEARNT
from models.training.language import PackedBatch

_PIXELS = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class SeenImage:
    """An image as the language model gets it. rows: float32 [tokens, hidden]. text: what was read in it."""

    digest: str
    rows: NDArray[np.float32] = field(repr=False)
    guesses: tuple[tuple[str, float], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Branch:
    """atoms: token ids. learn: which of them are to be learnt. row: of which row the answer is, -1 for several."""

    atoms: tuple[int, ...]
    learn: tuple[bool, ...]


@dataclass(frozen=True)
class Lesson:
    """One image. trunk: token ids, negative for image rows (atom -1 is row 0)."""

    image: SeenImage
    trunk: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def size(self) -> int:
        return len(self.trunk) + sum(len(branch.atoms) for branch in self.branches)


class Writer:
    """Writes lessons for one model."""

    def __init__(self, tokenizer: Tokenizer, prompts: PromptBuilder, use_words: bool) -> None:
        self._tokenizer, self._prompts, self._use_words = tokenizer, prompts, use_words
        (self._end,) = tokenizer.encode(END, special=True)

    def questions(self, image: SeenImage, rows: Sequence[TrainingRow]) -> Lesson:
        """Every question by itself, in a branch."""
        prompts = [self._prompt(image, [Message("user", row.question, (_picture(image),))]) for row in rows]
        shared = _shared(prompts)
        branches = []
        for prompt, row in zip(prompts, rows, strict=True):
            own, reply = prompt[shared:], self._reply(row)
            branches.append(Branch((*own, *reply), (False,) * len(own) + (True,) * len(reply)))
        return Lesson(image, tuple(prompts[0][:shared]), tuple(branches))

    def conversation(self, image: SeenImage, rows: Sequence[TrainingRow]) -> Lesson:
        """The questions one after another, the image before the first; every answer learnt."""
        messages: list[Message] = []
        atoms: list[int] = []
        learn: list[bool] = []
        trunk = 0
        for row in rows:
            messages.append(Message("user", row.question, () if messages else (_picture(image),)))
            prompt = self._prompt(image, messages)
            trunk = trunk or len(prompt) - 1
            reply = self._reply(row)
            learn += [False] * (len(prompt) - len(atoms)) + [True] * len(reply)
            atoms = [*prompt, *reply]
            messages.append(Message("assistant", row.answer))
        return Lesson(image, tuple(atoms[:trunk]), (Branch(tuple(atoms[trunk:]), tuple(learn[trunk:])),))

    def _prompt(self, image: SeenImage, messages: Sequence[Message]) -> list[int]:
        atoms = range(-1, -len(image.rows) - 1, -1)
        encoded = {image.digest: EncodedImage(atoms, image.rows, image.guesses)}
        texts = {image.digest: image.text}
        return self._prompts.build(messages, encoded, use_words=self._use_words, texts=texts).tokens

    def _reply(self, row: TrainingRow) -> list[int]:
        return [*self._tokenizer.encode(row.answer, special=False), self._end]


def pack(lessons: Sequence[Lesson], embedding: NDArray[np.float32]) -> PackedBatch:
    """Lessons one behind the other, each seeing only itself. embedding: float32 [vocab, hidden]."""
    rows, positions, owners, targets = [], [], [], []
    for owner, lesson in enumerate(lessons):
        trunk = len(lesson.trunk)
        ids = np.array([*lesson.trunk, *(atom for branch in lesson.branches for atom in branch.atoms)])
        inputs = embedding[np.maximum(ids, 0)]
        inputs[ids < 0] = lesson.image.rows[-ids[ids < 0] - 1]
        rows.append(inputs)
        owners.append(np.full(len(ids), owner))
        positions.append(np.arange(trunk))
        targets.append(np.full(trunk, NOT_LEARNT))
        for branch in lesson.branches:
            positions.append(np.arange(trunk, trunk + len(branch.atoms)))
            learnt = np.where(branch.learn, branch.atoms, NOT_LEARNT)
            targets.append(np.append(learnt[1:], NOT_LEARNT))
    return PackedBatch(
        torch.from_numpy(np.concatenate(rows).astype(np.float32)),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(owners)),
        torch.from_numpy(np.concatenate(targets)),
        tuple((len(each.trunk), *(len(b.atoms) for b in each.branches)) for each in lessons),
    )


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with, at least one less than the shortest has."""
    longest = min(map(len, prompts)) - 1
    first = prompts[0]
    return next((at for at in range(longest) if any(each[at] != first[at] for each in prompts)), longest)


def _picture(image: SeenImage) -> Image:
    return Image(_PIXELS, image.digest, "image")
