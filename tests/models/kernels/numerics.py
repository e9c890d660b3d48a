"""Helpers for the numerics tests: the committed reference outputs, and runtimes of the real model.

The fixtures are made by tests/fixtures/numerics/make.py, which explains what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler.cpu import KernelPath, choose_path, detect
from models.formats.llama_sources import load_llama
from models.formats.llama_weights import LlamaWeights
from models.hub.store import ModelFiles
from models.language.runtime import LlamaRuntime, compile_llama
from models.lora.weights import LoraWeights, PackedLora, pack_lora
from models.packing.packed_model import load_or_pack
from tests.fixtures.numerics import cases

FIXTURES = Path(__file__).parents[2] / "fixtures" / "numerics"
CONTEXT = 512

Reference = str
""" "float" or "emulated", see tests/fixtures/numerics/make.py."""


@dataclass(frozen=True)
class Kept:
    """The kept part of one row of reference logits: sample [SAMPLE], top and top_ids [TOP] (see cases)."""

    sample: NDArray[np.float32]
    top: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    logsumexp: float

    def error(self, logits: NDArray[np.float32]) -> float:
        """Relative error of a whole row of logits, over the sampled ids (see cases.relative_error)."""
        return cases.relative_error(logits[cases.sample_ids(logits.size)], self.sample)

    def divergence(self, logits: NDArray[np.float32]) -> float:
        """KL(reference || logits) in nats."""
        return cases.kl_divergence(self.top, self.logsumexp, logits[self.top_ids], cases.logsumexp(logits))


class Fixtures:
    """The committed reference outputs."""

    def __init__(self) -> None:
        with np.load(FIXTURES / "logits.npz") as file:
            self._logits: dict[str, NDArray[Any]] = dict(file)
        with np.load(FIXTURES / "greedy.npz") as file:
            self.greedy: dict[str, NDArray[Any]] = dict(file)
        self.about: Mapping[str, Any] = json.loads((FIXTURES / "about.json").read_text())

    def tokens(self, prompt: int) -> NDArray[np.int32]:
        tokens: NDArray[np.int32] = self._logits[f"tokens_{prompt}"]
        return tokens

    def kept(self, case: str, reference: Reference) -> list[tuple[int, Kept]]:
        """(prompt, its reference row) for each prompt of a case."""
        return [
            (
                prompt,
                Kept(
                    self._logits[f"{case}_{reference}_sample"][place],
                    self._logits[f"{case}_{reference}_top"][place],
                    self._logits[f"{case}_top_ids"][place],
                    float(self._logits[f"{case}_{reference}_logsumexp"][place]),
                ),
            )
            for place, prompt in enumerate(cases.case_prompts(case))
        ]

    def layer(self, case: str) -> NDArray[np.float32]:
        """The emulated reference's logits of a single layer: [inputs, layer_ids]."""
        rows: NDArray[np.float32] = self._logits[f"{case}_emulated_sample"]
        return rows

    def apart(self, case: str, pair: str) -> float:
        """The largest distance between two references in a case, as the script measured it."""
        return float(max(self.about["relative error of logits"][case][pair]))


def layer_logits(model: LlamaRuntime, lora: PackedLora | None = None) -> NDArray[np.float32]:
    """The logits [inputs, ids] of a single-layer runtime for cases.random_rows, at the ids that the fixtures keep."""
    ids = cases.sample_ids(model.shape.vocab)[:: cases.LAYER_STEP]
    logits = []
    for rows in cases.random_rows(model.shape.hidden):
        tokens = -1 - np.arange(len(rows), dtype=np.int32)  # negative ids select the given rows
        logits.append(model.prefill(tokens, rows, 0, lora)[ids].copy())
    return np.stack(logits)


def real_weights(files: ModelFiles) -> LlamaWeights:
    return load_llama(files.files["language_model"], files.digests["language_model"])


def single_layer(weights: LlamaWeights, layer: int) -> LlamaWeights:
    """The model with this layer as its only one."""
    return replace(
        weights,
        config=replace(weights.config, num_layers=1),
        layers=[weights.layers[layer]],
        digest=f"{weights.digest}/{layer}",
    )


def runtime(weights: LlamaWeights, folder: Path, cache: Path, path: KernelPath | None = None) -> LlamaRuntime:
    """A runtime of these weights. folder: for its packed file; cache: for code; path: None chooses."""
    packed = load_or_pack(weights.digest, lambda: weights, folder)
    library = compile_llama(packed.shape, path or choose_path(detect()), cache / "compiled")
    return LlamaRuntime(packed, library, threads=2, context_length=CONTEXT)


def adapter(model: LlamaRuntime, rank: int) -> PackedLora:
    """cases.random_adapter, packed for the runtime."""
    shape = model.shape
    widths = {
        "hidden": shape.hidden,
        "query": shape.attention_width,
        "key": shape.kv_width,
        "intermediate": shape.intermediate,
    }
    tensors = {}
    for layer, module, a, b in cases.random_adapter(rank, shape.layers, widths):
        tensors[f"layers.{layer}.{module}.A"], tensors[f"layers.{layer}.{module}.B"] = a, b
    return pack_lora(shape, LoraWeights(f"random-{rank}", 1, rank, tensors))
