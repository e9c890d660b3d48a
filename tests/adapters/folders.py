"""Adapters as folders on the disk, made of random numbers for a tiny model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.speed import workload
from models.packing.llama_shape import LlamaShape

SHAPE = LlamaShape(96, 160, 2, 6, 2, 16, 333, 1e-5, 4, 4, 4, 4, 4, 4, 4, 0)


def put(
    directory: Path, name: str, seed: int = 0, rank: int = 4, shape: LlamaShape = SHAPE, times: float = 1.0
) -> Path:
    """Installs or replaces a random adapter by renaming folders, as the installer does. Returns its folder.

    times: factor on the weights A and B. With about 20 the adapter changes the tokens that a model generates.
    """
    staging = directory / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    fresh, old, place = staging / f"new-{name}", staging / f"old-{name}", directory / name
    small = workload.adapter(shape, name, seed, rank)
    tensors = {name: tensor * np.float32(times) for name, tensor in small.tensors.items()}
    workload.write_peft(replace(small, tensors=tensors), fresh)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return place


def remove(directory: Path, name: str) -> None:
    gone = directory / ".staging" / f"gone-{name}"
    (directory / name).rename(gone)
    shutil.rmtree(gone)
