"""An adapter as an engine takes it: a LoRA for the language model and, optionally, a part of the projector.

What an adapter wants in its prompts (text read in images, a line of words) is not a weight. It belongs to the
package `adapters`, which this module must not import (layer contract).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.lora.peft_format import check_layers, read_peft
from models.lora.weighted_sum import add_packed
from models.lora.weights import LoraWeights, PackedLora, pack_lora
from models.packing.packed_model import LlamaShape
from models.vision.projector_file import ProjectorPart, read_projector_part

PROJECTOR_FILE = "projector.safetensors"

Lora_co = TypeVar("Lora_co", bound=LoraWeights | PackedLora, covariant=True)


@dataclass(frozen=True, eq=False)
class AdapterWeights(Generic[Lora_co]):
    """lora: as read from files, or packed. projector: what the adapter changes of the image tokens."""

    lora: Lora_co
    projector: ProjectorPart | None = None

    @property
    def name(self) -> str:
        return self.lora.name

    @property
    def generation(self) -> int:
        """Identifies the content of all files, the projector part's included."""
        return self.lora.generation


PackedAdapter = AdapterWeights[PackedLora]
AnyAdapter = AdapterWeights[LoraWeights | PackedLora]


def read_adapter(folder: Path, name: str) -> AdapterWeights[LoraWeights]:
    """The LoRA in a folder in PEFT's format, and the projector part beside it if there is one.

    Raises UserError, naming the file, when something is missing, damaged, not finite or not supported.
    """
    lora = read_peft(folder, name, identified_by=(PROJECTOR_FILE,))
    return AdapterWeights(lora, read_adapter_projector(folder))


def read_adapter_projector(folder: Path) -> ProjectorPart | None:
    """The projector part in an adapter's folder. Raises UserError when it is damaged or not supported."""
    file = folder / PROJECTOR_FILE
    return read_projector_part(file) if file.is_file() else None


def pack_adapter(shape: LlamaShape, adapter: AdapterWeights[LoraWeights]) -> PackedAdapter:
    """The adapter with its LoRA in the kernels' layout. Raises UserError when it does not fit the model."""
    check_layers(adapter.lora, shape.layers)
    return AdapterWeights(pack_lora(shape, adapter.lora), adapter.projector)


def packed_size(adapter: PackedAdapter) -> int:
    """Bytes in memory."""
    return adapter.lora.tensor.nbytes + (adapter.projector.size if adapter.projector else 0)


Weighted = Sequence[tuple[PackedAdapter, float]]


def add_adapters(shape: LlamaShape, name: str, generation: int, parts: Weighted) -> PackedAdapter:
    """The sum of the adapters, each times its weight.

    Heads of projector parts are joined as they are; weights apply to LoRAs alone. Raises UserError when the
    ranks, each rounded up to a multiple of 16, sum to more than MAX_RANK.
    """
    lora = add_packed(shape, name, generation, [(adapter.lora, weight) for adapter, weight in parts])
    return AdapterWeights(lora, _add_projectors(parts))


def _add_projectors(parts: Weighted) -> ProjectorPart | None:
    """Every head that one of the adapters keeps, then their own heads; LoRAs of heads add up."""
    if all(adapter.projector is None for adapter, _ in parts):
        return None
    keep: list[str] | None = []
    heads = []
    for adapter, _ in parts:
        part = adapter.projector or ProjectorPart()
        heads += [replace(head, name=f"{adapter.name}.{head.name}") for head in part.heads]
        if part.keep is None:
            keep = None
        elif keep is not None:
            keep += [name for name in part.keep if name not in keep]
    return ProjectorPart(None if keep is None else tuple(keep), tuple(heads), _add_head_loras(parts))


def _add_head_loras(parts: Weighted) -> dict[str, NDArray[np.float32]]:
    """A [sum of ranks, features] stacked by rows, weighted B [words, sum of ranks] side by side."""
    pieces: dict[str, list[NDArray[np.float32]]] = {}
    for adapter, weight in parts:
        for name, tensor in (adapter.projector or ProjectorPart()).lora.items():
            scaled = tensor if name.endswith(".A") else tensor * np.float32(weight)
            pieces.setdefault(name, []).append(scaled)
    return {name: np.concatenate(each, axis=0 if name.endswith(".A") else 1) for name, each in pieces.items()}
