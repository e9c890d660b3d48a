"""Helpers for the vision tests: the processor's kernel paths, the folder of compiled code, random weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import platformdirs
from numpy.typing import NDArray

from models.compiler.cpu import KernelPath, detect
from models.vision.efficientnet import CLASSES, HEAD_CHANNELS, STAGES, STEM_CHANNELS

PATHS: tuple[KernelPath, ...] = tuple(path for path in get_args(KernelPath) if detect().supports(path))
"""All kernel paths that this processor can run, the fastest first."""

TAPPED_BLOCKS = {"s8": 6, "s16": 14}
"""The blocks whose output is the map of that name."""


def compiled_dir() -> Path:
    """The folder of compiled code, kept between runs. Its keys contain everything that an entry depends on."""
    home = os.environ.get("EDGE_APP_TEST_HOME") or platformdirs.user_cache_path("edge-app-tests")
    return Path(home) / "compiled"


def random_checkpoint(seed: int) -> dict[str, NDArray[Any]]:
    """Tensors named and shaped as an EfficientNet-Lite2's, scaled so that activations keep their magnitude."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}

    def convolution(name: str, *shape: int) -> None:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        tensors[name + ".weight"] = random.normal(0, spread, shape).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        tensors[name + ".weight"] = random.uniform(0.8, 1.2, channels).astype(np.float32)
        tensors[name + ".bias"] = random.normal(0, 0.3, channels).astype(np.float32)
        tensors[name + ".running_mean"] = random.normal(0, 0.2, channels).astype(np.float32)
        tensors[name + ".running_var"] = random.uniform(0.6, 1.5, channels).astype(np.float32)
        tensors[name + ".num_batches_tracked"] = np.array(7)

    convolution("_conv_stem", STEM_CHANNELS, 3, 3, 3)
    norm("_bn0", STEM_CHANNELS)
    channels, index = STEM_CHANNELS, 0
    for repeats, kernel, _, expansion, outputs in STAGES:
        for _ in range(repeats):
            name, hidden = f"_blocks.{index}.", channels * expansion
            if expansion > 1:
                convolution(name + "_expand_conv", hidden, channels, 1, 1)
                norm(name + "_bn0", hidden)
            convolution(name + "_depthwise_conv", hidden, 1, kernel, kernel)
            norm(name + "_bn1", hidden)
            convolution(name + "_project_conv", outputs, hidden, 1, 1)
            norm(name + "_bn2", outputs)
            channels, index = outputs, index + 1
    convolution("_conv_head", HEAD_CHANNELS, channels, 1, 1)
    norm("_bn1", HEAD_CHANNELS)
    convolution("_fc", CLASSES, HEAD_CHANNELS)
    tensors["_fc.bias"] = random.normal(0, 0.1, CLASSES).astype(np.float32)
    return tensors


def drawn_images() -> dict[str, NDArray[np.uint8]]:
    """Three small RGB images from numpy alone: a red disc, waves of colour, coloured blocks."""
    y, x = np.mgrid[0:150, 0:200].astype(np.float64)
    disc = np.full((150, 200, 3), (240, 240, 235), np.float64)
    disc[(x - 100) ** 2 + (y - 75) ** 2 < 55**2] = (200, 30, 40)
    waves = np.stack([np.sin(x / 9), np.sin(y / 13 + 1), np.sin((x + y) / 21 + 2)], axis=2) * 100 + 128
    noise = np.random.default_rng(5).uniform(0, 255, (12, 9, 3))
    blocks = np.kron(noise, np.ones((20, 20, 1)))
    return {
        name: image.astype(np.uint8) for name, image in (("disc", disc), ("waves", waves), ("blocks", blocks))
    }
