"""Adapters in the form that the compiled engine runs: packed, kept in its cache, and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.adapter_weights import AdapterWeights, read_adapter_projector
from models.core.errors import UserError
from models.engine import PackedAdapter
from models.lora.packed_files import PackedFiles
from models.lora.peft_format import PeftLora, check_layers
from models.lora.weights import PackedLora, add_packed, pack_lora
from models.packing.packed_model import LlamaShape
from models.vision.projector_file import ProjectorPart


@dataclass(frozen=True, eq=False)
class CompiledAdapter:
    """An adapter in the form that the compiled engine runs. lora: in the kernels' layout."""

    lora: PackedLora
    projector: ProjectorPart | None = None

    @property
    def name(self) -> str:
        return self.lora.name

    @property
    def generation(self) -> int:
        """See AdapterWeights.generation."""
        return self.lora.generation

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.lora.tensor.nbytes + (self.projector.size if self.projector else 0)


class CompiledAdapterPacker:
    """Packs adapters for models of one shape (models.engine.AdapterPacker). Any thread may call the methods."""

    def __init__(self, shape: LlamaShape, folder: Path) -> None:
        """folder: where packed adapters are kept between runs."""
        self._shape = shape
        self._files = PackedFiles(folder, shape)

    def pack(self, weights: AdapterWeights) -> CompiledAdapter:
        """The adapter with its LoRA in the kernels' layout. Raises UserError when it does not fit the model."""
        check_layers(weights.lora, self._shape.layers)
        if isinstance(weights.lora, PeftLora) and weights.lora.magnitudes:
            raise UserError(f"The adapter {weights.name} is a DoRA, which this engine cannot run yet.")
        if weights.vision is not None:
            raise UserError(
                f"The adapter {weights.name} changes a vision tower, which this model does not have; choose the model "
                "that it was made for."
            )
        return CompiledAdapter(pack_lora(self._shape, weights.lora), weights.projector)

    def add(
        self, name: str, generation: int, parts: Sequence[tuple[PackedAdapter, float]]
    ) -> CompiledAdapter:
        """The sum of the adapters, each times its weight.

        Heads of projector parts are joined as they are; weights apply to LoRAs alone. Raises UserError when the
        ranks, each rounded up to a multiple of 16, sum to more than MAX_RANK.
        """
        own = [(as_compiled(adapter), weight) for adapter, weight in parts]
        loras = [(adapter.lora, weight) for adapter, weight in own]
        return CompiledAdapter(add_packed(self._shape, name, generation, loras), _add_projectors(own))

    def open(self, folder: Path, name: str, signature: object) -> CompiledAdapter | None:
        """The LoRA from its packed file, and the projector part from the adapter's folder.

        None when there is no packed file of this signature or the projector part is damaged. Reading the whole
        adapter then raises the error.
        """
        lora = self._files.open(name, signature)
        if lora is None:
            return None
        try:
            return CompiledAdapter(lora, read_adapter_projector(folder))
        except UserError:
            return None

    def keep(self, adapter: PackedAdapter, signature: object) -> None:
        """Write the LoRA's packed file. Errors of the disk are ignored."""
        self._files.write(as_compiled(adapter).lora, signature)


def as_compiled(adapter: PackedAdapter) -> CompiledAdapter:
    """The adapter itself. Raises TypeError when another engine packed it."""
    if not isinstance(adapter, CompiledAdapter):
        raise TypeError(f"the adapter {adapter.name} was packed by another engine")
    return adapter


Weighted = Sequence[tuple[CompiledAdapter, float]]


def _add_projectors(parts: Weighted) -> ProjectorPart | None:
    """The sum of projector parts: every head that one of them keeps, their own heads, and the sum of head LoRAs."""
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
