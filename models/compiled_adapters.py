"""Adapters in the form that the compiled engine runs: packed, kept in its cache, and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.adapter_weights import AdapterWeights, read_adapter_projector, read_adapter_vision
from models.core.errors import UserError
from models.engine import PackedAdapter
from models.families.parts import BaseWeights
from models.lora.packed_files import PackedFiles
from models.lora.peft_format import PeftLora, check_layers
from models.lora.vision_lora import VisionLora, dora_factors
from models.lora.weights import LoraWeights, PackedLora, add_packed, pack_lora, to_floats
from models.packing.llama_shape import LlamaShape
from models.precision import Updates
from models.vision.projector.heads import ProjectorPart
from models.vision.siglip.adapter import PackedVisionLora, pack_vision_lora


@dataclass(frozen=True, eq=False)
class CompiledAdapter:
    """An adapter in the form that the compiled engine runs.

    lora: in the kernels' layout. projector, vision: what it changes of the vision encoder, by the encoder's kind.
    """

    lora: PackedLora
    projector: ProjectorPart | None = None
    vision: PackedVisionLora | None = None

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
        parts = (self.projector, self.vision)
        return self.lora.tensor.nbytes + sum(part.size for part in parts if part is not None)


class CompiledAdapterPacker:
    """Packs adapters for one model (models.engine.AdapterPacker). Any thread may call the methods."""

    def __init__(
        self,
        shape: LlamaShape,
        folder: Path,
        base: BaseWeights | None = None,
        *,
        digest: str = "",
        by_update: bool = False,
    ) -> None:
        """folder: where packed adapters are kept between runs. Models of several digests may share it.

        base: of the model. None refuses adapters that need it. digest: sha256 (hex) of the model's weights.
        by_update: whether an adapter whose update is large (models.precision) is packed for the model of floats instead
        of this one of int8.
        """
        self._shape = shape
        self._base = base
        self._files = PackedFiles(folder, shape, digest)
        self._updates = Updates(base) if by_update and base is not None else None
        # Every type of weights has the same layout of LoRAs.
        self._float_shape = replace(shape, float_type="f32") if by_update else shape
        self._float_files = PackedFiles(folder, self._float_shape, digest)

    def pack(self, weights: AdapterWeights) -> CompiledAdapter:
        """The adapter with its LoRA in the kernels' layout. Raises UserError when it does not fit the model."""
        check_layers(weights.lora, self._shape.layers)
        shape = self._shape
        if self._updates is not None and self._updates.need_floats(weights):
            shape = self._float_shape
        vision = self._pack_vision(
            weights.vision, weights.name, weights.generation, shape.float_type is not None
        )
        lora = pack_lora(shape, self._with_factors(weights.lora))
        return CompiledAdapter(lora, weights.projector, vision)

    def _with_factors(self, lora: LoraWeights) -> LoraWeights:
        """The LoRA with the factors of a DoRA, which depend on the base model's weights."""
        if not isinstance(lora, PeftLora) or not lora.magnitudes:
            return lora
        if self._base is None:
            raise UserError(f"The adapter {lora.name} is a DoRA, which this engine cannot run.")
        try:
            factors = dora_factors(lora.tensors, lora.magnitudes, self._base.language)
        except (KeyError, ValueError) as error:
            raise _misfit(lora.name) from error
        return replace(lora, factors=factors)

    def _pack_vision(
        self, lora: VisionLora | None, name: str, generation: int, floats: bool
    ) -> PackedVisionLora | None:
        """The part for a SigLIP tower, which has floats or not. Raises UserError for a model without one."""
        if lora is None:
            return None
        if self._base is None or self._base.vision is None:
            raise UserError(
                f"The adapter {name} changes a vision tower, which this model does not have; choose the model that it "
                "was made for."
            )
        weights = self._base.vision()
        try:
            lora = lora.with_factors(lambda module: weights.floats(f"{module}.weight"))
        except (KeyError, ValueError) as error:
            raise _misfit(name) from error
        return pack_vision_lora(weights.config, lora, name, generation, floats)

    def add(
        self, name: str, generation: int, parts: Sequence[tuple[PackedAdapter, float]]
    ) -> CompiledAdapter:
        """The sum of the adapters, each times its weight.

        Heads of projector parts are joined as they are; weights apply to LoRAs alone. Raises UserError when the
        ranks, each rounded up to a multiple of 16, sum to more than MAX_RANK.
        """
        own = [(as_compiled(adapter), weight) for adapter, weight in parts]
        for adapter, _ in own:
            if adapter.vision is not None:
                raise UserError(
                    f"The adapter {adapter.name} changes the vision tower; it cannot be added to others."
                )
        loras = [(adapter.lora, weight) for adapter, weight in own]
        shape = self._shape
        if any(lora.floats for lora, _ in loras):
            shape = self._float_shape
            loras = [(lora if lora.factored else to_floats(shape, lora), weight) for lora, weight in loras]
        return CompiledAdapter(add_packed(shape, name, generation, loras), _add_projectors(own))

    def open(self, folder: Path, name: str, signature: object) -> CompiledAdapter | None:
        """The LoRA from its packed file, and the vision encoder's part from the adapter's folder.

        None when there is no packed file of this signature or the other part is damaged. Reading the whole adapter
        then raises the error.
        """
        lora = self._files.open(name, signature) or self._float_files.open(name, signature)
        if lora is None:
            return None
        try:
            sees = self._base is not None and self._base.vision is not None
            part = read_adapter_vision(folder) if sees else None
            vision = self._pack_vision(part, name, lora.generation, lora.floats)
            return CompiledAdapter(lora, read_adapter_projector(folder), vision)
        except UserError:
            return None

    def keep(self, adapter: PackedAdapter, signature: object) -> None:
        """Write the LoRA's packed file. Errors of the disk are ignored."""
        lora = as_compiled(adapter).lora
        (self._float_files if lora.floats else self._files).write(lora, signature)


def _misfit(name: str) -> UserError:
    return UserError(f"The adapter {name} does not fit this model; choose the model that it was made for.")


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
