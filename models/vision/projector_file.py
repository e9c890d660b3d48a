"""The projector's file: a safetensors file of heads, each a linear classifier whose classes are words.

Metadata: format "edge-app-projector", version "1", heads: a JSON list, in the order of the image tokens, of
{"name", "features": ["pool", "colour", ...], "temperature", "labels": [...], "weights": "own" |
"tower.classifier"}. Tensors: heads.<name>.weight [words, features] (absent for the tower's classifier),
heads.<name>.bias [words] (for the tower's classifier: its own when absent) and heads.<name>.tokens int32
[words, slots], token ids of the language model, -1 for none.

Everything is checked here, so that what comes out can be run. Knows nothing of running it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.safetensors_file import SafetensorsFile
from models.vision.efficientnet import CLASSES, HEAD_CHANNELS, PackedTower
from models.vision.preprocess import COLOUR_BINS

FORMAT = "edge-app-projector"
VERSION = "1"
FEATURE_SIZES = {"pool": HEAD_CHANNELS, "colour": COLOUR_BINS}
"""Features of models.vision.tower.TowerFeatures that a head may read, and their lengths."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Head:
    """One classifier over features, and the tokens of its words.

    weight: float32 [words, features], bias: float32 [words], divided by the temperature when probabilities
    are taken. tokens: int32 [words, slots], -1 contributes nothing.
    """

    name: str
    features: tuple[str, ...]
    temperature: float
    labels: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    tokens: NDArray[np.int32]

    @property
    def slots(self) -> int:
        """Image tokens that this head makes."""
        return int(self.tokens.shape[1])


def read_projector(path: Path, tower: PackedTower, vocab_size: int) -> tuple[Head, ...]:
    """The heads of a projector file, checked against the tower and the language model's vocabulary.

    Raises UserError, naming the file and the head, for whatever does not fit or is not finite.
    """
    file = SafetensorsFile(path)
    if file.metadata.get("format") != FORMAT or file.metadata.get("version") != VERSION:
        raise UserError(f"{path} is not a projector file of version {VERSION}: install the model again.")
    heads = tuple(_Entry(file, entry).head(tower, vocab_size) for entry in _entries(file))
    names = [head.name for head in heads]
    if not heads or len(set(names)) != len(names):
        raise UserError(f"{path} must have heads with different names, not {names}.")
    known = {f"heads.{name}.{part}" for name in names for part in ("weight", "bias", "tokens")}
    unknown = sorted(set(file.tensors) - known)
    if unknown:
        raise UserError(f"{path} has a tensor {unknown[0]} that belongs to no head.")
    return heads


def _entries(file: SafetensorsFile) -> list[dict[str, Any]]:
    try:
        entries = json.loads(file.metadata.get("heads", ""))
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f'{file.path}: the metadata "heads" are not a JSON list of objects.')
    return entries


class _Entry:
    """One head's entry in the metadata while it is being checked."""

    def __init__(self, file: SafetensorsFile, entry: dict[str, Any]) -> None:
        self._file, self._entry = file, entry
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UserError(f"{file.path}: {name!r} is not a head's name (letters, digits, - and _).")
        self._name = name

    def head(self, tower: PackedTower, vocab_size: int) -> Head:
        features, labels = self._words("features"), self._words("labels")
        unknown = [name for name in features if name not in FEATURE_SIZES]
        if unknown or not features:
            raise self._refuse(f"reads the features {list(features)}, there are {list(FEATURE_SIZES)}")
        length = sum(FEATURE_SIZES[name] for name in features)
        weight, bias = self._matrix(features, length, len(labels), tower)
        return Head(
            name=self._name,
            features=features,
            temperature=self._temperature(),
            labels=labels,
            weight=weight,
            bias=bias,
            tokens=self._tokens(len(labels), vocab_size),
        )

    def _matrix(
        self, features: tuple[str, ...], length: int, words: int, tower: PackedTower
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        match self._entry.get("weights", "own"):
            case "own":
                return self._floats("weight", (words, length)), self._floats("bias", (words,))
            case "tower.classifier":
                pass
            case other:
                raise self._refuse(f'has the weights {other!r}, not "own" or "tower.classifier"')
        if features != ("pool",) or words != CLASSES:
            raise self._refuse(
                f"takes the tower's classifier, which needs the feature pool and {CLASSES} labels"
            )
        if f"heads.{self._name}.weight" in self._file.tensors:
            raise self._refuse("takes the tower's classifier and brings weights as well")
        if f"heads.{self._name}.bias" in self._file.tensors:
            return tower.classifier, self._floats("bias", (words,))
        return tower.classifier, tower.classifier_bias

    def _tokens(self, words: int, vocab_size: int) -> NDArray[np.int32]:
        name = f"heads.{self._name}.tokens"
        stored = self._file.tensors.get(name)
        if stored is None or stored.type != "I32":
            raise self._refuse("has no int32 tensor of tokens")
        if len(stored.shape) != 2 or stored.shape[0] != words or not 1 <= stored.shape[1] <= 64:
            raise self._refuse(f"has {words} labels but tokens of the shape {list(stored.shape)}")
        tokens: NDArray[np.int32] = self._file.array(name)
        if tokens.min() < -1 or tokens.max() >= vocab_size:
            raise self._refuse(f"has token ids that are not in the vocabulary (0 to {vocab_size - 1})")
        return tokens

    def _floats(self, part: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        name = f"heads.{self._name}.{part}"
        if name not in self._file.tensors:
            raise self._refuse(f"lacks its {part}")
        if self._file.tensors[name].shape != shape:
            raise self._refuse(
                f"has a {part} of the shape {list(self._file.tensors[name].shape)}, not {list(shape)}"
            )
        values = self._file.floats(name)
        if not np.isfinite(values).all():
            raise self._refuse(f"has a {part} that is not finite")
        return values

    def _temperature(self) -> float:
        value = self._entry.get("temperature", 1.0)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or value <= 0
        ):
            raise self._refuse(f"has the temperature {value!r}, not a number above 0")
        return float(value)

    def _words(self, key: str) -> tuple[str, ...]:
        value = self._entry.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
            raise self._refuse(f"has no list of {key}")
        return tuple(value)

    def _refuse(self, what: str) -> UserError:
        return UserError(f"{self._file.path}: the head {self._name} {what}: get a fresh copy of the file.")
