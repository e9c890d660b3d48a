"""Decides whether linear layers compute in int8 or in float: a property of the model, or of model and adapter.

int8 rounds weights and inputs to 8 bits, which makes decoding two to four times as fast as with floats of 16 or 32
bits. Two cases get floats by themselves:

A small model, because its speed is of no concern.

An adapter whose update B A is large beside the weights W that it changes. Rounding makes errors in proportion to what
it rounds, here W x and B (A x), while the answer follows from their sum and from what later layers make of it. Adapters
that were trained on answers have updates of 2 to 10% of the weights and add nothing visible to the error. One of 240%
made it 37% in a random model, where it is 4% without an adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.adapter_weights import AdapterWeights
from models.families.parts import BaseWeights
from models.formats.llama_weights import Precision
from models.formats.model_description import default_precision, describe_files
from models.hub.catalog import WEIGHT_FILES
from models.hub.store import ModelFiles
from models.lora.vision_lora import Arrays

Wanted = Literal["auto", "int8", "float"]
"""What a user asks for."""

LARGE_UPDATE: Final = 0.25
"""Under an adapter whose update is larger than this share of the weights, a model computes in float."""


def model_precision(files: ModelFiles, wanted: Wanted = "auto") -> Precision:
    """How a model computes without an adapter."""
    if wanted != "auto":
        return wanted
    paths = files.files.values() if "language_model" in files.files else files.directory.iterdir()
    size = sum(path.stat().st_size for path in paths if path.suffix in WEIGHT_FILES)
    return default_precision(size)


def float_memory(files: ModelFiles, context_length: int) -> int:
    """About the bytes that a model takes in float, with a KV cache of this length. Reads the headers of its files.

    Raises UserError when a file is damaged.
    """
    described = describe_files(files.directory, files.files.get("language_model"), files.files.get("mmproj"))
    return described.memory(context_length, "float")


class Updates:
    """Measures the updates of adapters of one model. The norms of its weights are computed once."""

    def __init__(self, base: BaseWeights) -> None:
        self._base = base
        self._norms: dict[str, float] = {}

    def need_floats(self, adapter: AdapterWeights) -> bool:
        """Whether the model computes in float under the adapter, whatever its own size."""
        return self.size(adapter) > LARGE_UPDATE

    def size(self, adapter: AdapterWeights) -> float:
        """The Frobenius norm of all B A over that of the W that they change.

        0 when the adapter has none, or does not fit the model, which is said when it is packed.
        """
        layers: list[tuple[Arrays, Callable[[str], NDArray[np.float32]]]] = [
            (adapter.lora.tensors, self._base.language)
        ]
        if adapter.vision is not None and self._base.vision is not None:
            tower = self._base.vision()
            layers.append((adapter.vision.tensors, lambda module: tower.floats(f"{module}.weight")))
        updates = changed = 0.0
        for part, (tensors, weights) in enumerate(layers):
            modules = [name.removesuffix(".A") for name in tensors if name.endswith(".A")]
            try:
                updates += sum(
                    product_norm(tensors[f"{module}.B"], tensors[f"{module}.A"]) for module in modules
                )
                changed += sum(self._norm(f"{part} {module}", module, weights) for module in modules)
            except (KeyError, ValueError):
                return 0.0
        return sqrt(updates / changed) if changed else 0.0

    def _norm(self, key: str, module: str, weights: Callable[[str], NDArray[np.float32]]) -> float:
        """The squared Frobenius norm of a module's weights. key: of the module among all."""
        if key not in self._norms:
            values = weights(module).reshape(-1)
            self._norms[key] = float(np.dot(values, values))
        return self._norms[key]


def product_norm(b: NDArray[np.float32], a: NDArray[np.float32]) -> float:
    """The squared Frobenius norm of B A, by products of the size of the rank. b: [outputs, r]. a: [r, inputs].

    |B A|^2 = trace(A^T B^T B A) = sum over (B^T B) * (A A^T).
    """
    wide_b, wide_a = b.astype(np.float64), a.astype(np.float64)
    return float(((wide_b.T @ wide_b) * (wide_a @ wide_a.T)).sum())
