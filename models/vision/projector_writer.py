"""Writes an adapter's projector part, in the format that models.vision.projector_file reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.vision.projector_file import FORMAT, VERSION, ProjectorHead, ProjectorPart


def write_projector_part(path: Path, part: ProjectorPart) -> None:
    """One file; weights in float16."""
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


def _described(head: ProjectorHead) -> dict[str, Any]:
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
