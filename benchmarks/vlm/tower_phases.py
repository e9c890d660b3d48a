"""Seconds and GFLOP/s of each phase of a vision tower, for those who make its kernels faster.

    python -m benchmarks.vlm.tower_phases MMPROJ_OR_DIRECTORY [--path PATH] [--threads N] [--rounds N]

Processor time is counted, which other programs on the machine disturb less than the clock. The minimum over the rounds
is printed, since everything else that can happen only adds to it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.system import paths
from models.compiler.cpu import KernelPath, choose_path, detect
from models.core.cache import COMPILED, PACKED
from models.formats.siglip_sources import load_siglip
from models.formats.siglip_weights import SiglipConfig
from models.vision.siglip.encoder import SiglipEncoder
from models.vision.siglip.packed_siglip import load_or_pack_siglip


def operations(config: SiglipConfig) -> dict[str, int]:
    """Floating-point operations of a tile by phase: two for each multiplication with a weight, key or value."""
    rows, hidden, layers = config.side**2, config.hidden, config.layers
    return {
        "embed": 2 * rows * hidden * 3 * config.patch**2,
        "project": layers * 2 * rows * hidden * 3 * hidden,
        "attend": layers * (4 * rows * rows * hidden + 2 * rows * hidden * hidden),
        "mlp": layers * 4 * rows * hidden * config.inner,
        "connect": 2 * rows * hidden * config.text_hidden,
    }


def phase_seconds(encoder: SiglipEncoder, rounds: int) -> dict[str, float]:
    """Processor seconds of each phase in the fastest round. Wraps the encoder's functions."""
    spent = dict.fromkeys(encoder.functions, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            started = time.process_time()
            function(*arguments)
            spent[name] += time.process_time() - started

        return call

    for name, function in list(encoder.functions.items()):
        encoder.functions[name] = timed(name, function)
    size = encoder.config.image_size
    tile = np.random.default_rng(0).integers(0, 256, (3, size, size), dtype=np.uint8)
    fastest = dict.fromkeys(spent, float("inf"))
    for _ in range(rounds):
        spent.update(dict.fromkeys(spent, 0.0))
        encoder.encode(tile)
        fastest = {name: min(seconds, spent[name]) for name, seconds in fastest.items()}
    return fastest


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Seconds and GFLOP/s of each phase of a vision tower.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--path")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    cache = paths.cache_directory()
    path: KernelPath = choose_path(detect(cache), given.path)
    weights = load_siglip(given.weights)
    packed = load_or_pack_siglip(weights.digest, lambda: weights, cache / PACKED)
    encoder = SiglipEncoder.load(packed, path, cache / COMPILED, given.threads)
    counts, seconds = operations(weights.config), phase_seconds(encoder, given.rounds)
    for name, value in [*seconds.items(), ("tile", sum(seconds.values()))]:
        rate = counts.get(name, sum(counts.values())) / value / 1e9
        print(f"{name:8} {value:8.4f} s of processor time {rate:6.0f} GFLOP/s")


if __name__ == "__main__":
    main()
