"""Writes the trained question encoder as the app reads it: int8 matrices, and lower layers as they were published."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.question_encoder.encoder import LAYERS, MOST_TOKENS, quantised
from models.training.scope.network import TRAINED, Trainee

BORDER = -1.2
"""The logit from which a question counts as in scope, which `export` moves to 0. New writers' questions in scope reach
lower logits than those of the training; chosen on writers that were left out."""

PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "norm": "output.LayerNorm",
}  # fmt: skip
"""Our names of a layer's parts, and those of the published weights."""


def export(trainee: Trainee, base: Path, out: Path) -> None:
    """Writes encoder.safetensors (embeddings and lower layers), last_layers.safetensors and tokenizer.json."""
    published = load_file(base / "model.safetensors")
    words, scale = quantised(published["embeddings.word_embeddings.weight"])
    segment = published["embeddings.token_type_embeddings.weight"][0]
    encoder: dict[str, NDArray[np.generic]] = {
        "embeddings.word.weight": words,
        "embeddings.word.scale": scale,
        "embeddings.position": published["embeddings.position_embeddings.weight"][:MOST_TOKENS] + segment,
        "embeddings.norm.weight": published["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": published["embeddings.LayerNorm.bias"],
    }
    last: dict[str, NDArray[np.generic]] = {
        f"head.{name}": value.detach().numpy().squeeze() for name, value in trainee.head.named_parameters()
    }
    for number in range(LAYERS):
        trained = number - (LAYERS - TRAINED)
        source: Mapping[str, NDArray[np.float32]] = (
            {name: value.detach().numpy() for name, value in trainee.layers[trained].named_parameters()}
            if trained >= 0
            else {
                name.removeprefix(f"encoder.layer.{number}."): value
                for name, value in published.items()
                if name.startswith(f"encoder.layer.{number}.")
            }
        )
        (last if trained >= 0 else encoder).update(layer_tensors(f"layer.{number}", source))
    last["head.likeness"] = last["head.likeness"] - np.array([0, 0, BORDER], np.float32)
    digest = hashlib.sha256(b"".join(last[name].tobytes() for name in sorted(last))).digest()
    last["identity"] = np.frombuffer(digest[:16], np.uint8)
    out.mkdir(parents=True, exist_ok=True)
    save_file(encoder, out / "encoder.safetensors")
    save_file(last, out / "last_layers.safetensors")
    shutil.copyfile(base / "tokenizer.json", out / "tokenizer.json")


def layer_tensors(name: str, source: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
    """A layer under our names; its matrices as int8."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for ours, theirs in PARTS.items():
        weight = source[f"{theirs}.weight"]
        tensors[f"{name}.{ours}.bias"] = source[f"{theirs}.bias"]
        if weight.ndim == 1:
            tensors[f"{name}.{ours}.weight"] = weight
        else:
            tensors[f"{name}.{ours}.weight"], tensors[f"{name}.{ours}.scale"] = quantised(weight)
    return tensors
