"""Reads and writes projector files: a safetensors file of heads, each a classifier whose classes are words.

The projector of a model and the projector part of an adapter have the same format.

Metadata:
- format: "edge-app-projector". version: "3". Version "2" has no pooling and no sharpness; version "1" has no places
  and no part of an adapter either.
- heads: a JSON list, in the order of the image tokens, of {"name", "features": ["pool", "s8.max4", ...],
  "temperature", "sharpness", "labels": [...], "weights": "own" | "tower.classifier", "places": {"map": "s8",
  "cells": 1, "pooling": "mean" | "peaks"}}. Optional are sharpness (1), places, and their pooling ("mean"). Only a
  model's head can use the tower's classifier.
- keep: a JSON list of the model's heads that an adapter keeps, or null for all.

Tensors:
- heads.<name>.weight [words, features], absent for the tower's classifier.
- heads.<name>.bias [words]; the tower's own when a head with the tower's classifier has none.
- heads.<name>.tokens int32 [words, slots]: token ids of the language model, -1 for none.
- heads.<name>.places.weight [hidden, channels] and heads.<name>.places.bias [hidden], with places.
- heads.<name>.A [rank, features] and heads.<name>.B [words, rank]: an adapter's LoRA on a head that it keeps.

Reading checks everything, so that the returned heads can run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import FileError, UserError
from models.formats.safetensors_file import SafetensorsFile
from models.vision.efficientnet import CLASSES, PackedTower
from models.vision.projector.heads import Places, ProjectorHead, ProjectorPart, check_vocabulary
from models.vision.projector.pooling import FEATURES, MAPS, MAX_CELLS, feature_size

FORMAT = "edge-app-projector"
VERSION = "3"
READABLE = ("1", "2", VERSION)
MAX_HEADS = 64
MAX_HIDDEN = 256
MAX_SLOTS = 64
LARGEST_NUMBER = 1e30  # JSON has whole numbers that no float can hold

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LORA = re.compile(r"heads\.[A-Za-z0-9_-]{1,64}\.[AB]")


def read_projector(path: Path, tower: PackedTower, vocab_size: int) -> tuple[ProjectorHead, ...]:
    """The heads of a model's projector, checked against the tower and the language model's vocabulary.

    Raises UserError, naming the file and the head, for a tensor that does not fit or is not finite.
    """
    file = _open(path, "install the model again")
    heads = _heads(file, tower)
    if not heads:
        raise FileError(path, " has no heads: install the model again.")
    _check_tensors(file, heads)
    for head in heads:
        check_vocabulary(head, vocab_size, str(path))
    return heads


def read_projector_part(path: Path) -> ProjectorPart:
    """An adapter's projector part, checked as far as possible without the model. Raises UserError, naming the file."""
    file = _open(path, "get a fresh copy of the adapter")
    heads = _heads(file, None)
    keep = _keep(file)
    if keep == () and not heads:
        raise FileError(path, " leaves the projector without a head: get a fresh copy of the adapter.")
    lora = {name: file.floats(name) for name in file.tensors if _LORA.fullmatch(name)}
    _check_tensors(file, heads, lora)
    for name, values in lora.items():
        if values.ndim != 2 or not np.isfinite(values).all():
            raise FileError(path, f": {name} is not a finite matrix: get a fresh copy of the adapter.")
    return ProjectorPart(keep, heads, lora)


def write_projector_part(path: Path, part: ProjectorPart) -> None:
    """Write an adapter's projector part. Weights are stored as float16."""
    from safetensors.numpy import save_file  # only training writes

    tensors: dict[str, NDArray[Any]] = {name: _half(values) for name, values in part.lora.items()}
    for head in part.heads:
        prefix = f"heads.{head.name}"
        tensors[f"{prefix}.weight"] = _half(head.weight)
        tensors[f"{prefix}.bias"] = np.ascontiguousarray(head.bias)
        tensors[f"{prefix}.tokens"] = np.ascontiguousarray(head.tokens)
        if head.places is not None:
            tensors[f"{prefix}.places.weight"] = _half(head.places.weight)
            tensors[f"{prefix}.places.bias"] = np.ascontiguousarray(head.places.bias)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "heads": json.dumps([_described(head) for head in part.heads], ensure_ascii=False),
        "keep": json.dumps(part.keep),
    }
    save_file(tensors, path, metadata)


def _open(path: Path, remedy: str) -> SafetensorsFile:
    file = SafetensorsFile(path)
    if file.metadata.get("format") != FORMAT or file.metadata.get("version") not in READABLE:
        raise FileError(path, f" is not a projector file of version {' or '.join(READABLE)}: {remedy}.")
    return file


def _heads(file: SafetensorsFile, tower: PackedTower | None) -> tuple[ProjectorHead, ...]:
    """The heads in the metadata. tower: heads may use its classifier; None for an adapter's part."""
    entries = _json(file, "heads")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FileError(file.path, ': the metadata "heads" are not a JSON list of objects.')
    if len(entries) > MAX_HEADS:
        raise FileError(file.path, f" has {len(entries)} heads; at most {MAX_HEADS} can run.")
    heads = tuple(_HeadEntry(file, entry).head(tower) for entry in entries)
    names = [head.name for head in heads]
    if len(set(names)) != len(names):
        raise FileError(file.path, f" must have heads with different names, not {names}.")
    return heads


def _keep(file: SafetensorsFile) -> tuple[str, ...] | None:
    """The names in the metadata "keep"; None for all. Raises UserError."""
    keep = _json(file, "keep") if "keep" in file.metadata else None
    if keep is None:
        return None
    names = keep if isinstance(keep, list) and len(keep) <= MAX_HEADS else [None]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise FileError(file.path, ': the metadata "keep" are not a JSON list of heads\' names.')
    if len(set(names)) != len(names):
        raise FileError(file.path, f" keeps a head twice: {names}.")
    return tuple(names)


def _json(file: SafetensorsFile, key: str) -> object:
    try:
        return json.loads(file.metadata.get(key, ""))
    except (ValueError, RecursionError):
        raise FileError(file.path, f': the metadata "{key}" are not JSON.') from None


def _check_tensors(file: SafetensorsFile, heads: Iterable[ProjectorHead], others: Iterable[str] = ()) -> None:
    """Raise UserError for a tensor that belongs to no head and is not one of `others`."""
    known = set(others)
    for head in heads:
        parts = ["weight", "bias", "tokens", *(("places.weight", "places.bias") if head.places else ())]
        known.update(f"heads.{head.name}.{part}" for part in parts)
    unknown = sorted(set(file.tensors) - known)
    if unknown:
        raise FileError(file.path, f" has a tensor {unknown[0]} that belongs to no head.")


class _HeadEntry:
    """The entry of one head in the metadata, and the tensors of that head. Checks both."""

    def __init__(self, file: SafetensorsFile, entry: dict[str, Any]) -> None:
        self._file, self._entry = file, entry
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise FileError(file.path, f": {name!r} is not a head's name (letters, digits, - and _).")
        self._name = name

    def head(self, tower: PackedTower | None) -> ProjectorHead:
        """The head. tower: the tower whose classifier it may use. Raises UserError."""
        features, labels, places = self._words("features"), self._words("labels"), self._places()
        sizes = [feature_size(name) for name in features]
        if None in sizes or not (features or places):
            raise self._refuse(f"reads the features {list(features)}; there are {FEATURES}")
        if not labels:
            raise self._refuse("has no list of labels")
        length = sum(size or 0 for size in sizes) + (places.size if places else 0)
        weight, bias = self._matrix(features, length, len(labels), tower)
        temperature, sharpness = self._positive("temperature"), self._positive("sharpness")
        tokens = self._tokens(len(labels))
        return ProjectorHead(
            self._name, features, temperature, labels, weight, bias, tokens, places, sharpness
        )

    def _places(self) -> Places | None:
        """The hidden layer of the head; None without one. Raises UserError."""
        places = self._entry.get("places")
        if isinstance(places, dict):
            places = {"pooling": "mean", **places}
        match places:
            case None:
                return None
            case {"map": str(name), "cells": int(cells), "pooling": "mean" | "peaks" as pooling} if (
                name in MAPS and 1 <= cells <= MAX_CELLS
            ):
                bias = self._file.tensors.get(f"heads.{self._name}.places.bias")
                hidden = bias.shape[0] if bias is not None and len(bias.shape) == 1 else 0
                if not 1 <= hidden <= MAX_HIDDEN:
                    raise self._refuse(f"has no hidden layer of 1 to {MAX_HIDDEN} at its places")
                weight = self._floats("places.weight", (hidden, MAPS[name][1]))
                return Places(name, cells, weight, self._floats("places.bias", (hidden,)), pooling)
            case other:
                raise self._refuse(
                    f"has the places {other!r}, not a map, 1 to {MAX_CELLS} cells and a pooling"
                )

    def _matrix(
        self, features: tuple[str, ...], length: int, words: int, tower: PackedTower | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weight [words, length] and the bias [words]. Raises UserError."""
        weights = self._entry.get("weights", "own")
        if weights == "own":
            return self._floats("weight", (words, length)), self._floats("bias", (words,))
        if weights != "tower.classifier" or tower is None:
            raise self._refuse(f"has the weights {weights!r}, which are not known here")
        if features != ("pool",) or words != CLASSES or self._entry.get("places"):
            raise self._refuse(
                f"takes the tower's classifier, which needs the feature pool and {CLASSES} labels"
            )
        if f"heads.{self._name}.weight" in self._file.tensors:
            raise self._refuse("takes the tower's classifier and brings weights as well")
        if f"heads.{self._name}.bias" in self._file.tensors:
            return tower.classifier, self._floats("bias", (words,))
        return tower.classifier, tower.classifier_bias

    def _tokens(self, words: int) -> NDArray[np.int32]:
        """The token ids, int32 [words, slots]. Raises UserError."""
        name = f"heads.{self._name}.tokens"
        stored = self._file.tensors.get(name)
        if stored is None or stored.type != "I32":
            raise self._refuse("has no int32 tensor of tokens")
        if len(stored.shape) != 2 or stored.shape[0] != words or not 1 <= stored.shape[1] <= MAX_SLOTS:
            raise self._refuse(f"has {words} labels but tokens of the shape {list(stored.shape)}")
        tokens: NDArray[np.int32] = self._file.array(name)
        if tokens.min() < -1:
            raise self._refuse("has token ids below -1")
        return tokens

    def _floats(self, part: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A tensor of the head as float32. Raises UserError when it is missing, not finite or of another shape."""
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

    def _positive(self, key: str) -> float:
        """A number above 0, default 1. Raises UserError."""
        value = self._entry.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LARGEST_NUMBER:
            raise self._refuse(f"has the {key} {value!r}, not a number above 0")
        return float(value)

    def _words(self, key: str) -> tuple[str, ...]:
        value = self._entry.get(key)
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self._refuse(f"has no list of {key}")
        return tuple(value)

    def _refuse(self, what: str) -> UserError:
        return FileError(self._file.path, f": the head {self._name} {what}: get a fresh copy of the file.")


def _described(head: ProjectorHead) -> dict[str, Any]:
    """The entry of a head in the metadata."""
    described: dict[str, Any] = {
        "name": head.name,
        "features": list(head.features),
        "temperature": head.temperature,
        "sharpness": head.sharpness,
        "labels": list(head.labels),
        "weights": "own",
    }
    if head.places is not None:
        places = head.places
        described["places"] = {"map": places.map, "cells": places.cells, "pooling": places.pooling}
    return described


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    return np.ascontiguousarray(values, dtype=np.float16)
