"""Encodes short texts as vectors whose likeness follows what the texts ask.

The encoder is a BERT of 6 layers and 384 hidden units, all-MiniLM-L6-v2 with its last layers trained further on
questions (models/training/scope). It runs in NumPy: a question has about 12 tokens, so that one costs 0.25 GFLOP and a
few milliseconds on any processor, and nothing has to be compiled for it. Weights are stored as int8 with one scale per
row and converted to float32 once.

Source of the architecture: Devlin et al., "BERT" (2019); of the weights: Wang et al., "MiniLM" (2020), and the card in
models/bundled/question-encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

BUNDLED = Path(__file__).parents[1] / "bundled" / "question-encoder"

HIDDEN = 384
HEADS = 12
LAYERS = 6
LOWER = 3
"""The first layers, which are as published. The others were trained further."""

MOST_TOKENS = 64
"""Tokens of a text that are read. The end of a longer text is ignored."""

BATCH = 64
"""Texts that are encoded together. They are sorted by length first, so that little of a batch is padding."""

_EPSILON = 1e-12  # of the layer normalisation, as in the published configuration

Tensors = dict[str, NDArray[np.generic]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Linear:
    """y = x W + b. weight: float32 [in, out], the order in which few rows of x are multiplied fastest. bias: [out]."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(x @ self.weight + self.bias)


@dataclass(frozen=True)
class _Norm:
    """Layer normalisation over the last axis. weight, bias: float32 [hidden]."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return np.asarray(centred / np.sqrt(variance + np.float32(_EPSILON)) * self.weight + self.bias)


@dataclass(frozen=True)
class _Layer:
    """A transformer layer with normalisation after each residual sum (post-norm)."""

    query: _Linear
    key: _Linear
    value: _Linear
    output: _Linear
    attention_norm: _Norm
    up: _Linear
    down: _Linear
    norm: _Norm

    def __call__(self, x: Floats, mask: Floats) -> Floats:
        """x: float32 [batch, tokens, HIDDEN]. mask: float32 [batch, 1, 1, tokens], 0 or a large negative number."""
        batch, tokens, _ = x.shape

        def by_head(values: Floats) -> Floats:  # -> [batch, HEADS, tokens, HIDDEN / HEADS]
            return values.reshape(batch, tokens, HEADS, -1).transpose(0, 2, 1, 3)

        query, key, value = by_head(self.query(x)), by_head(self.key(x)), by_head(self.value(x))
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(HIDDEN / HEADS)) + mask
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = (weights @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, HIDDEN)
        x = self.attention_norm(x + self.output(mixed))
        return self.norm(x + self.down(gelu(self.up(x))))


class QuestionEncoder:
    """Encodes texts as unit vectors. Safe to use from several threads."""

    def __init__(self, tensors: Tensors, tokenizer: Tokenizer) -> None:
        """tensors: as quantised by `quantised`, of all layers."""
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        self._words = tensors["embeddings.word.weight"], _float(tensors["embeddings.word.scale"])
        # A text is one segment, so that the embedding of segment 0 is the same for each of its tokens.
        self._positions = _float(tensors["embeddings.position"])
        self._norm = _norm(tensors, "embeddings.norm")
        # A question is too small to be divided: on a busy machine a second thread makes it ten times as slow.
        from threadpoolctl import ThreadpoolController  # not above: its import sets an environment variable

        self._blas = ThreadpoolController()
        self._layers = [_layer(tensors, f"layer.{number}") for number in range(LAYERS)]

    @classmethod
    def load(cls, folder: Path = BUNDLED) -> QuestionEncoder:
        """The encoder in a folder with encoder.safetensors, last_layers.safetensors and tokenizer.json."""
        tensors = {
            **load_file(folder / "encoder.safetensors"),
            **load_file(folder / "last_layers.safetensors"),
        }
        return cls(tensors, Tokenizer.from_file(str(folder / "tokenizer.json")))

    def vectors(self, texts: Sequence[str]) -> Floats:
        """One unit vector for each text, float32 [texts, HIDDEN]. Texts are lower-cased by the tokenizer."""
        return self.read(texts)[0]

    def read(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """For each text the vector of `vectors`, and the unit vector of the mean output of the LOWER layers.

        Both float32 [texts, HIDDEN]. Lone surrogates, as of an argument that is no UTF-8, count as question
        marks.
        """
        readable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(readable)]
        found, lower = np.zeros((2, len(ids), HIDDEN), np.float32)
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
        with self._blas.limit(limits=1, user_api="blas"):
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                found[batch], lower[batch] = self._encode([ids[number] for number in batch])
        return found, lower

    def _encode(self, ids: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        longest = max(map(len, ids))
        padded = np.array([[*row, *[0] * (longest - len(row))] for row in ids])
        present = np.array([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in ids], np.float32)
        codes, scales = self._words
        x = codes[padded].astype(np.float32) * scales[padded][..., None] + self._positions[:longest]
        x = self._norm(x)
        mask = (present - 1)[:, None, None, :] * np.float32(1e4)
        for layer in self._layers[:LOWER]:
            x = layer(x, mask)
        lower = _unit_mean(x, present)
        for layer in self._layers[LOWER:]:
            x = layer(x, mask)
        return _unit_mean(x, present), lower


def _unit_mean(x: Floats, present: Floats) -> Floats:
    """The mean over a text's tokens as a unit vector. x: [texts, tokens, HIDDEN]. present: [texts, tokens], 1 or 0."""
    mean = (x * present[..., None]).sum(axis=1) / present.sum(axis=1, keepdims=True)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def quantised(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """int8 codes [rows, columns] and the float32 scale of each row: weight ~ codes * scale[:, None]."""
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-8) / 127
    return np.rint(weight / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def gelu(x: Floats) -> Floats:
    """The tanh form of GELU (Hendrycks and Gimpel, 2016). The last layers were trained with it."""
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


def _float(values: NDArray[np.generic]) -> Floats:
    return values.astype(np.float32)


def _linear(tensors: Tensors, name: str) -> _Linear:
    weight = _float(tensors[f"{name}.weight"]) * _float(tensors[f"{name}.scale"])[:, None]
    return _Linear(np.ascontiguousarray(weight.T), _float(tensors[f"{name}.bias"]))


def _norm(tensors: Tensors, name: str) -> _Norm:
    return _Norm(_float(tensors[f"{name}.weight"]), _float(tensors[f"{name}.bias"]))


def _layer(tensors: Tensors, name: str) -> _Layer:
    return _Layer(
        query=_linear(tensors, f"{name}.query"),
        key=_linear(tensors, f"{name}.key"),
        value=_linear(tensors, f"{name}.value"),
        output=_linear(tensors, f"{name}.output"),
        attention_norm=_norm(tensors, f"{name}.attention_norm"),
        up=_linear(tensors, f"{name}.up"),
        down=_linear(tensors, f"{name}.down"),
        norm=_norm(tensors, f"{name}.norm"),
    )
