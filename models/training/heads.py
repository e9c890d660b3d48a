"""Fits the projector's word heads on frozen tower features and writes them as a projector file.

Two heads are the tower's own classifier with its classes as words: their names and their kinds. The others are linear
models over the features, fitted to notes about the training photos.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.language.tokenizer import Tokenizer
from models.training.classes import ClassName
from models.training.features import TrainingFeatures

PAD = "."
"""Fills the slots after a short name, because RMS normalisation would scale an empty mixture up to noise."""

SETTINGS = (
    "plain background", "indoors", "on a table", "grass", "forest", "street", "garden", "cage or zoo",
    "field", "by the water", "building", "rocks", "in the water", "underwater", "beach", "kitchen", "snow",
    "road", "sea", "sky", "workshop", "desert", "stage", "sports field", "mountains", "city", "cave",
)  # fmt: skip
COLOURS = (
    "black", "white", "brown", "grey", "red", "beige", "yellow", "blue", "orange", "green", "silver", "pink",
    "gold", "purple",
)  # fmt: skip
PEOPLE = ("nobody", "people")
FOLDS = 5
PENALTIES = (0.1, 0.3)

_TOKEN_WORDS = {"beige": "tan"}  # "beige" is two tokens


@dataclass(frozen=True)
class WordHead:
    """A fitted head of W words over F features.

    weight: float32 [W, F], bias: float32 [W]; both None for the tower's classifier. tokens: int32 [W, slots].
    """

    name: str
    features: tuple[str, ...]
    temperature: float
    labels: tuple[str, ...]
    tokens: NDArray[np.int32]
    weight: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class NoteHead:
    """A head to fit. wanted: the labels that apply to a photo, from its note."""

    name: str
    labels: tuple[str, ...]
    slots: int
    wanted: Callable[[Mapping[str, Any]], Sequence[str]]


NOTE_HEADS = (
    NoteHead("setting", SETTINGS, 3, lambda note: [note["setting"]]),
    NoteHead("colour", COLOURS, 1, lambda note: note["colours"]),
    NoteHead("background", COLOURS, 1, lambda note: note["background"]),
    NoteHead("people", PEOPLE, 1, lambda note: ["people" if note["people"] else "nobody"]),
)


def word_tokens(tokenizer: Tokenizer, words: Sequence[str], slots: int) -> NDArray[np.int32]:
    """The tokens of each word after a space, cut or padded to `slots`: int32 [words, slots]."""
    (pad,) = tokenizer.encode(PAD, special=False)
    table = np.full((len(words), slots), pad, dtype=np.int32)
    for row, word in enumerate(words):
        ids = tokenizer.encode(" " + _TOKEN_WORDS.get(word, word), special=False)[:slots]
        table[row, : len(ids)] = ids
    return table


def class_heads(tokenizer: Tokenizer, classes: Sequence[ClassName], temperature: float) -> list[WordHead]:
    """The tower's classifier with names and with kinds as words. temperature: from classifier_temperature."""
    names = tuple(each.name for each in classes)
    kinds = [each.kind.word for each in classes]
    return [
        WordHead("object", ("pool",), temperature, names, word_tokens(tokenizer, names, 8)),
        WordHead("kind", ("pool",), temperature, names, word_tokens(tokenizer, kinds, 2)),
    ]


def classifier_temperature(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """The temperature with the largest likelihood. logits: [n, 1000]. classes: the labels, [n]."""
    candidates = np.linspace(0.4, 2.0, 33)
    likelihoods = [
        np.log(softmax(logits / t)[np.arange(len(classes)), classes] + 1e-12).mean() for t in candidates
    ]
    return float(candidates[int(np.argmax(likelihoods))])


def feature_matrix(features: TrainingFeatures) -> NDArray[np.float32]:
    """The inputs of a fitted head: pool and colour, [n, 1408]."""
    return np.concatenate([features.pool, features.colour], axis=1)


def targets(head: NoteHead, notes: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
    """Target distributions [n, W]: uniform over the labels that apply."""
    table = np.zeros((len(notes), len(head.labels)), dtype=np.float32)
    for row, note in enumerate(notes):
        words = [word for word in head.wanted(note) if word in head.labels]
        for word in words:
            table[row, head.labels.index(word)] += 1 / len(words)
    return table


def fit_linear(
    inputs: NDArray[np.float32], wanted: NDArray[np.float32], penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Softmax regression with an L2 penalty, by L-BFGS.

    inputs: [n, F]. wanted: target distributions [n, W]. Inputs are standardised for the fit.
    Returns weight [W, F] and bias [W] for inputs that are not standardised.
    """
    centre, spread = inputs.mean(0), inputs.std(0) + 1e-3
    x = torch.from_numpy((inputs - centre) / spread)
    y = torch.from_numpy(wanted)
    weight = torch.zeros(wanted.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.zeros(wanted.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        nll = -(y * torch.log_softmax(x @ weight.T + bias, dim=1)).sum(1).mean()
        value: torch.Tensor = nll + penalty * weight.square().sum() / 2
        value.backward()
        return value

    optimiser.step(loss)
    scaled = weight.detach().numpy() / spread
    return scaled.astype(np.float32), (bias.detach().numpy() - scaled @ centre).astype(np.float32)


def cross_fit(
    inputs: NDArray[np.float32], wanted: NDArray[np.float32], seed: int
) -> tuple[float, NDArray[np.float32]]:
    """The best of PENALTIES, and probabilities [n, W] of each row by a head that was not fitted on it."""
    fold = np.random.default_rng(seed).permutation(len(inputs)) % FOLDS
    best: tuple[float, float, NDArray[np.float32]] | None = None
    for penalty in PENALTIES:
        probabilities = np.zeros_like(wanted)
        for held in range(FOLDS):
            weight, bias = fit_linear(inputs[fold != held], wanted[fold != held], penalty)
            probabilities[fold == held] = softmax(inputs[fold == held] @ weight.T + bias)
        score = float((wanted * np.log(probabilities + 1e-9)).sum(1).mean())
        if best is None or score > best[0]:
            best = score, penalty, probabilities
    assert best is not None
    return best[1], best[2]


def softmax(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis, float32 of the shape of z."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result


def save_projector(path: Path, heads: Sequence[WordHead]) -> None:
    """Write projector.safetensors (format version 1, see models.vision.projector.projector_file)."""
    tensors: dict[str, NDArray[Any]] = {}
    described = []
    for head in heads:
        tensors[f"heads.{head.name}.tokens"] = head.tokens
        if head.weight is not None and head.bias is not None:
            tensors[f"heads.{head.name}.weight"] = head.weight
            tensors[f"heads.{head.name}.bias"] = head.bias
        described.append(
            {
                "name": head.name,
                "features": list(head.features),
                "temperature": head.temperature,
                "labels": list(head.labels),
                "weights": "tower.classifier" if head.weight is None else "own",
            }
        )
    metadata = {
        "format": "edge-app-projector",
        "version": "1",
        "heads": json.dumps(described, ensure_ascii=False),
    }
    save_file(tensors, path, metadata)
