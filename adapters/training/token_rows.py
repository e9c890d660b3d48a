"""Images and their questions as token sequences, made with the prompt builder that the engine answers with.

All questions about an image share the tokens before them (the prefix). Each question continues it in a branch of its
own, or they follow one another as the turns of a conversation. Only the answers and the tokens that end them are
learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.training.data import TrainingRow
from models.core.errors import UserError
from models.core.types import Image, Message
from models.language.prompt import EncodedImage, PromptBuilder
from models.language.tokenizer import Tokenizer
from models.training.examples import NOT_LEARNT
from models.training.language import PackedBatch

_PIXELS = np.zeros((1, 1, 3), np.uint8)
_NO_ROWS = np.zeros((0, 0), np.float32)  # prompts are built of the rows' numbers


class RowsOfImage(Protocol):
    """The rows of an image: an array float32 [tokens, hidden], or what reads the chosen ones from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: NDArray[np.int64], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class TrainingImage:
    """An image as input of the language model.

    text: read in it, as prompts have it. grid: rows and columns of its tiles (models.language.prompt.EncodedImage).
    """

    digest: str
    rows: RowsOfImage = field(repr=False)
    guesses: tuple[tuple[str, float], ...] = ()
    text: str = ""
    grid: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Branch:
    """tokens: ids. learn: for each of them, whether it is a target of the loss."""

    tokens: tuple[int, ...]
    learn: tuple[bool, ...]


@dataclass(frozen=True)
class TrainingExample:
    """One image with its questions. prefix: token ids; a negative one, -(i + 1), stands for row i of the image."""

    image: TrainingImage
    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]

    @property
    def size(self) -> int:
        return len(self.prefix) + sum(len(branch.tokens) for branch in self.branches)


class ExampleBuilder:
    """Builds the examples of one model. use_words: whether prompts have the line of words."""

    def __init__(self, tokenizer: Tokenizer, prompts: PromptBuilder, use_words: bool) -> None:
        self._tokenizer, self._prompts, self._use_words = tokenizer, prompts, use_words
        question, answer = Message("user", "a"), Message("assistant", "b")
        rest = prompts.build([question, answer], {}).tokens[len(prompts.build([question], {}).tokens) :]
        ends = [token for token in rest if token in tokenizer.end_ids]
        if not ends:
            raise UserError(
                "The model's chat template ends answers without a control token; it cannot be trained."
            )
        self._end = ends[0]

    def questions(self, image: TrainingImage, rows: Sequence[TrainingRow]) -> TrainingExample:
        """An example with a branch for every question."""
        asked = [[Message("user", row.question, (_picture(image),))] for row in rows]
        prompts = [self._prompt(image, messages) for messages in asked]
        shared = _shared(prompts)
        branches = []
        for messages, prompt, row in zip(asked, prompts, rows, strict=True):
            own, reply = prompt[shared:], self._reply(image, messages, prompt, row)
            branches.append(Branch((*own, *reply), (False,) * len(own) + (True,) * len(reply)))
        return TrainingExample(image, tuple(prompts[0][:shared]), tuple(branches))

    def conversation(self, image: TrainingImage, rows: Sequence[TrainingRow]) -> TrainingExample:
        """An example of one branch: the questions one after another, the image before the first."""
        messages: list[Message] = []
        tokens: list[int] = []
        learn: list[bool] = []
        prefix = 0
        for row in rows:
            messages.append(Message("user", row.question, () if messages else (_picture(image),)))
            prompt = self._prompt(image, messages)
            prefix = prefix or len(prompt) - 1
            reply = self._reply(image, messages, prompt, row)
            learn += [False] * (len(prompt) - len(tokens)) + [True] * len(reply)
            tokens = [*prompt, *reply]
            messages.append(Message("assistant", row.answer))
        return TrainingExample(
            image, tuple(tokens[:prefix]), (Branch(tuple(tokens[prefix:]), tuple(learn[prefix:])),)
        )

    def _prompt(self, image: TrainingImage, messages: Sequence[Message]) -> list[int]:
        tokens = range(-1, -len(image.rows) - 1, -1)
        encoded = {image.digest: EncodedImage(tokens, _NO_ROWS, image.guesses, grid=image.grid)}
        texts = {image.digest: image.text}
        return self._prompts.build(messages, encoded, use_words=self._use_words, texts=texts).tokens

    def _reply(
        self, image: TrainingImage, messages: Sequence[Message], prompt: Sequence[int], row: TrainingRow
    ) -> list[int]:
        """The answer and the token that ends it, as they follow the prompt in a conversation that goes on.

        A template may put a space before the answer. One that changes the prompt's own end has the answer alone.
        """
        whole = self._prompt(image, [*messages, Message("assistant", row.answer)])
        rest = whole[len(prompt) :]
        if whole[: len(prompt)] == list(prompt) and self._end in rest:
            return rest[: rest.index(self._end) + 1]
        return [*self._tokenizer.encode(row.answer, special=False), self._end]


def pack(examples: Sequence[TrainingExample], embedding: NDArray[np.float32]) -> PackedBatch:
    """Examples concatenated into one batch, in which each attends only to itself. embedding: float32 [vocab, hidden].

    The batch has a row for each token. Its target is the token that follows, NOT_LEARNT where that is no part of an
    answer. Every branch begins at the position behind the prefix, as if it followed that directly.
    """
    rows, positions, owners, targets = [], [], [], []
    for owner, example in enumerate(examples):
        prefix = len(example.prefix)
        ids = np.array([*example.prefix, *(token for branch in example.branches for token in branch.tokens)])
        inputs = embedding[np.maximum(ids, 0)]
        inputs[ids < 0] = example.image.rows[-ids[ids < 0] - 1]
        rows.append(inputs)
        owners.append(np.full(len(ids), owner))
        positions.append(np.arange(prefix))
        targets.append(np.full(prefix, NOT_LEARNT))
        for branch in example.branches:
            positions.append(np.arange(prefix, prefix + len(branch.tokens)))
            learnt = np.where(branch.learn, branch.tokens, NOT_LEARNT)
            targets.append(np.append(learnt[1:], NOT_LEARNT))
    return PackedBatch(
        torch.from_numpy(np.concatenate(rows).astype(np.float32)),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(owners)),
        torch.from_numpy(np.concatenate(targets)),
        tuple((len(each.prefix), *(len(b.tokens) for b in each.branches)) for each in examples),
    )


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the longest common prefix, at most one less than that of the shortest prompt."""
    longest = min(map(len, prompts)) - 1
    first = prompts[0]
    return next((at for at in range(longest) if any(each[at] != first[at] for each in prompts)), longest)


def _picture(image: TrainingImage) -> Image:
    return Image(_PIXELS, image.digest, "image")
