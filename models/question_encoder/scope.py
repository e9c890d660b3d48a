"""Whether a question asks for one of a list of tasks, each of which is declared by example questions.

The likeness to the examples of a task, the vectors' element-wise products and differences, and the question alone are
read by a small network that was trained together with the encoder's last layers (models/training/scope). It reads
nothing but examples, so it works for tasks that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.question_encoder.encoder import BUNDLED, Floats, QuestionEncoder, gelu

SHARPNESS = 2.0
"""Tasks are combined by logsumexp(SHARPNESS * logits) / SHARPNESS, a smooth maximum."""

PRODUCT, DIFFERENCE, ALONE = 16.0, 8.0, 8.0
"""Factors on the inputs of the network, which bring elements of unit vectors near to 1."""

Tasks = Mapping[str, Sequence[str]]
"""Example questions by the name of their task."""


@dataclass(frozen=True)
class QuestionVectors:
    """An encoded question. asked: what it asks, a unit vector. lower: as QuestionEncoder.read gives it. Both float32
    [hidden]."""

    asked: Floats
    lower: Floats


@dataclass(frozen=True)
class TaskVectors:
    """Encoded examples of tasks, and how the log-odds of their scope are adjusted.

    examples: unit vectors, float32 [n, hidden], ordered by task. counts: of each task. weight: of a linear rule on
    QuestionVectors.lower, float32 [hidden], whose value is added to the network's logit; None for tasks that have no
    rule. border: subtracted from it: the value from which a question counts as in scope.
    """

    examples: Floats
    counts: tuple[int, ...]
    weight: Floats | None = None
    border: float = 0.0


@dataclass(frozen=True)
class ScopeHead:
    """The network's weights, float32: hidden_weight [h, 3 * hidden], hidden_bias [h], task_weight [h], task_bias [],
    question_weight [hidden], and likeness [3]: factors on the greatest cosine to an example of the task and on the
    cosine to their mean, and the bias."""

    hidden_weight: Floats
    hidden_bias: Floats
    task_weight: Floats
    task_bias: float
    question_weight: Floats
    likeness: Floats

    def logit(self, question: Floats, tasks: TaskVectors) -> float:
        """The network's logit for a question, a unit vector float32 [hidden], and at least one task."""
        logits, start = [], 0
        for count in tasks.counts:
            examples = tasks.examples[start : start + count]
            start += count
            mean = examples.mean(axis=0)
            mean = mean / np.linalg.norm(mean)
            joined = np.concatenate(
                [question * mean * PRODUCT, np.abs(question - mean) * DIFFERENCE, question * ALONE]
            )
            read = gelu(self.hidden_weight @ joined + self.hidden_bias) @ self.task_weight
            near = self.likeness[0] * (examples @ question).max() + self.likeness[1] * (question @ mean)
            logits.append(float(read) + self.task_bias + float(near))
        scaled = SHARPNESS * np.array(logits)
        most = scaled.max()
        best = (most + np.log(np.exp(scaled - most).sum())) / SHARPNESS
        alone = float(question @ self.question_weight) * ALONE
        return float(best) + alone + float(self.likeness[2])


class ScopeModel:
    """The encoder and the head that was trained with it. identity: hex digits that change with the weights."""

    def __init__(self, encoder: QuestionEncoder, head: ScopeHead, identity: str) -> None:
        self.identity = identity
        self._encoder = encoder
        self._head = head

    @classmethod
    def load(cls, folder: Path = BUNDLED) -> ScopeModel:
        tensors = load_file(folder / "last_layers.safetensors")

        def floats(name: str) -> NDArray[np.float32]:
            return np.asarray(tensors[name], np.float32)

        head = ScopeHead(
            hidden_weight=floats("head.hidden.weight"),
            hidden_bias=floats("head.hidden.bias"),
            task_weight=floats("head.task.weight"),
            task_bias=float(tensors["head.task.bias"]),
            question_weight=floats("head.question.weight"),
            likeness=floats("head.likeness"),
        )
        return cls(QuestionEncoder.load(folder), head, bytes(tensors["identity"]).hex())

    def vector(self, question: str) -> QuestionVectors:
        asked, lower = self._encoder.read([question])
        return QuestionVectors(asked[0], lower[0])

    def encode(self, tasks: Tasks) -> TaskVectors:
        """The tasks' examples; tasks without examples are left out."""
        own = [list(examples) for examples in tasks.values() if examples]
        texts = [example for examples in own for example in examples]
        return TaskVectors(self._encoder.vectors(texts), tuple(map(len, own)))

    def logit(self, question: QuestionVectors, tasks: TaskVectors) -> float:
        """Log-odds that a question, as `vector` gives it, asks for one of the tasks."""
        rule = 0.0 if tasks.weight is None else float(tasks.weight @ question.lower)
        return self._head.logit(question.asked, tasks) + rule - tasks.border
