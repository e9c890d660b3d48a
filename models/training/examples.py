"""Turns dialogues into packed training rows, with the prompt builder of inference.

Only answers, and the token that ends each, are learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.core.types import Image, Message
from models.language.prompt import EncodedImage, PromptBuilder
from models.language.tokenizer import Tokenizer
from models.training.dialogues import Turn
from models.training.heads import WordHead
from models.training.language import PackedBatch
from models.training.scenes import Scene

NOT_LEARNT = -100
END = "<|im_end|>"
_DIGEST = "scene"
_IMAGE = Image(np.zeros((1, 1, 3), np.uint8), _DIGEST, "scene")


class ImageRows:
    """Makes the image tokens of a scene as the projector does: for each slot of each head a mixture of embeddings."""

    def __init__(self, heads: Sequence[WordHead], embedding: NDArray[np.float32]) -> None:
        """embedding: of the language model, float32 [vocab, hidden]."""
        self._slots = [
            (head.name, embedding[head.tokens[:, slot]])
            for head in heads
            for slot in range(head.tokens.shape[1])
        ]

    def __call__(self, probabilities: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Image tokens, float32 [slots of all heads, hidden]. probabilities: [words] by head."""
        return np.stack([probabilities[name] @ rows for name, rows in self._slots]).astype(np.float32)


@dataclass(frozen=True)
class TrainingConversation:
    """tokens: token ids, negative for image rows: -(i + 1) is row i. learn: whether each token is learned.

    rows: float32 [image rows, hidden].
    """

    tokens: tuple[int, ...]
    learn: tuple[bool, ...]
    rows: NDArray[np.float32]


class ConversationWriter:
    """Turns dialogues into conversations."""

    def __init__(self, tokenizer: Tokenizer, prompts: PromptBuilder, image_rows: ImageRows) -> None:
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._rows = image_rows
        (self._end,) = tokenizer.encode(END, special=True)

    def conversation(self, scene: Scene, turns: Sequence[Turn], use_words: bool) -> TrainingConversation:
        """A conversation with the image before the first question. All answers are learned."""
        rows = self._rows(scene.heads)
        image = EncodedImage(range(-1, -len(rows) - 1, -1), rows, tuple(scene.guesses()))
        messages: list[Message] = []
        spans: list[tuple[int, int]] = []
        tokens: list[int] = []
        for index, (question, answer) in enumerate(turns):
            messages.append(Message("user", question, (_IMAGE,) if index == 0 else ()))
            tokens = self._prompts.build(messages, {_DIGEST: image}, use_words=use_words).tokens
            reply = [*self._tokenizer.encode(answer, special=False), self._end]
            spans.append((len(tokens), len(tokens) + len(reply)))
            tokens = [*tokens, *reply]
            messages.append(Message("assistant", answer))
        learn = [any(first <= place < last for first, last in spans) for place in range(len(tokens))]
        return TrainingConversation(tuple(tokens), tuple(learn), rows)


def pack(conversations: Sequence[TrainingConversation], embedding: NDArray[np.float32]) -> PackedBatch:
    """Conversations one after another in one row. embedding: float32 [vocab, hidden]."""
    rows, positions, owners, targets = [], [], [], []
    for owner, each in enumerate(conversations):
        ids = np.array(each.tokens)
        inputs = embedding[np.maximum(ids, 0)]
        inputs[ids < 0] = each.rows[-ids[ids < 0] - 1]
        rows.append(inputs)
        following = np.append(ids[1:], NOT_LEARNT)  # the target of a position is the token after it
        learnt = np.append(np.array(each.learn[1:]), False)
        targets.append(np.where(learnt, following, NOT_LEARNT))
        positions.append(np.arange(len(ids)))
        owners.append(np.full(len(ids), owner))
    return PackedBatch(
        torch.from_numpy(np.concatenate(rows).astype(np.float32)),
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(owners)),
        torch.from_numpy(np.concatenate(targets)),
    )
