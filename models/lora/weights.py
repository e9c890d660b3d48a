"""LoRA weights: as float32 tensors, packed for the kernels, and the weighted sum of several.

The kernels compute y = c (W x + B (A x)), with factors c for a DoRA alone. Nothing is merged into W and nothing is
recompiled, so that changing the adapter means passing another tensor. The layout is in models/packing/lora_layout.py.

A weighted sum of LoRAs is one LoRA again: sum_i w_i B_i A_i = [w_1 B_1, w_2 B_2, ...] [A_1; A_2; ...], whose rank is
the sum of the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler.tvm_runtime import aligned_zeros, as_tensor
from models.core.errors import UserError
from models.core.huge_pages import huge_page_array
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import MAX_RANK, RANK_STEP, ROLES, SITES, LoraLayout, tile_floats


@dataclass(frozen=True)
class LoraWeights:
    """One adapter's LoRA as float32 tensors.

    name, generation: identify the adapter for caches; a changed adapter has another generation.
    rank: of every module, 1..MAX_RANK.
    tensors: "layers.{i}.{role}_proj.A" [rank, inputs] and ".B" [outputs, rank], float32, with
    lora_alpha / rank folded into B. A module that is missing counts as zero.
    factors: of a DoRA (arXiv 2402.09353): "layers.{i}.{role}_proj" float32 [outputs], its magnitudes divided by the
    norms of the rows of W + B A. The module's outputs, W's included, are multiplied with them. 1 where there is none.
    """

    name: str
    generation: int
    rank: int
    tensors: Mapping[str, NDArray[np.float32]] = field(repr=False)
    factors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class PackedLora:
    """A LoRA that is ready to run.

    name, generation: those of the LoraWeights that it was made of. rank: padded to a multiple of 16.
    tensor: uint8 [LoraLayout.size(rank, factored)], 64-byte aligned. factored: whether it has the factors of a DoRA.
    floats: whether it runs on a model of floats.
    """

    name: str
    generation: int
    rank: int
    tensor: NDArray[np.uint8] = field(repr=False)
    factored: bool = False
    floats: bool = False

    @cached_property
    def argument(self) -> Any:
        """The tensor as compiled functions take it, made once."""
        return as_tensor(self.tensor)


Weighted = Sequence[tuple[PackedLora, float]]
"""LoRAs with the weight of each in a sum."""


def pack_lora(shape: LlamaShape, weights: LoraWeights) -> PackedLora:
    """Convert to the kernels' layout, once per adapter.

    Raises UserError when a tensor does not fit the model, is not finite, or the rank is not in 1..128.
    """
    _validate(shape, weights)
    rank = -(-weights.rank // RANK_STEP) * RANK_STEP
    layout = LoraLayout(shape)
    factored = bool(weights.factors)
    tensor = _zeros(layout.size(rank, factored))
    for layer in range(shape.layers):  # layer by layer, so that the arrays fit in the processor's cache
        for site, roles in SITES.items():
            area = layout.a_tiles(tensor, rank, site)[layer]  # [inputs / 32, parts, rank / 16, tile bytes]
            stacked = np.zeros((len(roles), rank, shape.matrix(roles[0])[1]), np.float32)
            for part, role in enumerate(roles):
                if (a := weights.tensors.get(f"layers.{layer}.{role}_proj.A")) is not None:
                    stacked[part, : weights.rank] = a
            # [parts * rank / 16, inputs / 32, tile bytes]
            tiles = layout.tiles(stacked.reshape(len(roles) * rank, -1), 32)
            area[...] = tiles.reshape(len(roles), -1, *tiles.shape[1:]).transpose(2, 0, 1, 3)
        for role in ROLES:
            padded = np.zeros((shape.matrix(role)[0], rank), np.float32)
            if (b := weights.tensors.get(f"layers.{layer}.{role}_proj.B")) is not None:
                padded[:, : weights.rank] = b
            layout.b_tiles(tensor, rank, role)[layer] = layout.tiles(padded, 16)
    if factored:
        _write_factors(layout, weights, layout.factors(tensor, rank))
    floats = shape.float_type is not None
    return PackedLora(weights.name, weights.generation, rank, tensor, factored, floats)


def _zeros(size: int) -> NDArray[np.uint8]:
    """A zero array for a packed tensor, on huge pages where they are to be had."""
    array = huge_page_array(size)
    return aligned_zeros(size, np.uint8) if array is None else array


def _write_factors(layout: LoraLayout, weights: LoraWeights, factors: NDArray[np.float32]) -> None:
    """Fill [layers, outputs of all roles] with the factors of a DoRA, and 1 where it has none."""
    factors[...] = 1
    for layer in range(layout.shape.layers):
        for role in ROLES:
            if (given := weights.factors.get(f"layers.{layer}.{role}_proj")) is not None:
                first = layout.first_output(role)
                factors[layer, first : first + len(given)] = given


def add_packed(shape: LlamaShape, name: str, generation: int, parts: Weighted) -> PackedLora:
    """The weighted sum of the parts as one LoRA.

    Packed tiles are copied and the weights multiply the scales of B, so that no code is rounded again. All parts run on
    a model of this shape. Raises UserError when the ranks, each rounded up to a multiple of 16, sum to more than
    MAX_RANK, or a part is a DoRA.
    """
    for packed, _ in parts:
        if packed.factored:
            raise UserError(
                f"The adapter {packed.name} is a DoRA, which scales the whole layer; it cannot be added to others."
            )
    rank = sum(packed.rank for packed, _ in parts)
    if rank > MAX_RANK:
        ranks = " + ".join(str(packed.rank) for packed, _ in parts)
        raise UserError(
            f"The adapters of {name} have the ranks {ranks} = {rank} (in steps of {RANK_STEP}); together at most "
            f"{MAX_RANK} can run, so leave some out."
        )
    tensor = _side_by_side(LoraLayout(shape), rank, parts)
    return PackedLora(name, generation, rank, tensor, floats=shape.float_type is not None)


def to_floats(shape: LlamaShape, packed: PackedLora) -> PackedLora:
    """A LoRA of 8 bits as it runs on a model of floats. shape: of that model. The factors of a DoRA are left out."""
    if packed.floats:
        return packed
    new, old = LoraLayout(shape), LoraLayout(replace(shape, float_type=None))
    rank, given = packed.rank, packed.tensor
    tensor = _zeros(new.size(rank))
    for site in SITES:
        new.a_tiles(tensor, rank, site)[...] = tile_floats(old.a_tiles(given, rank, site), 32)
    for role in ROLES:
        new.b_tiles(tensor, rank, role)[...] = tile_floats(old.b_tiles(given, rank, role), 16)
    return replace(packed, tensor=tensor, floats=True)


def _validate(shape: LlamaShape, weights: LoraWeights) -> None:
    """Raise UserError unless every tensor is finite and has its shape in a model of this shape."""
    if not 1 <= weights.rank <= MAX_RANK:
        raise UserError(
            f"The adapter {weights.name} has rank {weights.rank}; ranks from 1 to {MAX_RANK} can run."
        )
    expected: dict[str, tuple[int, ...]] = {}
    for layer in range(shape.layers):
        for role in ROLES:
            outputs, inputs = shape.matrix(role)
            expected[f"layers.{layer}.{role}_proj.A"] = (weights.rank, inputs)
            expected[f"layers.{layer}.{role}_proj.B"] = (outputs, weights.rank)
            expected[f"layers.{layer}.{role}_proj"] = (outputs,)
    for name, tensor in [*weights.tensors.items(), *weights.factors.items()]:
        if name not in expected:
            raise UserError(
                f"The adapter {weights.name} has a tensor {name} that this model has no place for."
            )
        if tensor.shape != expected[name]:
            raise UserError(
                f"The adapter {weights.name} does not fit this model: {name} is {list(tensor.shape)}, "
                f"expected {list(expected[name])}."
            )
        if not np.isfinite(tensor).all():
            raise UserError(
                f"The adapter {weights.name} is damaged: {name} holds values that are not numbers."
            )


def _side_by_side(layout: LoraLayout, rank: int, parts: Weighted) -> NDArray[np.uint8]:
    """The packed tensor of the sum: the tiles of the parts, in order, along the axis of ranks."""
    tensor = _zeros(layout.size(rank))
    start = 0  # in tiles of 16 ranks
    for packed, weight in parts:
        stop = start + packed.rank // RANK_STEP
        for site in SITES:
            area = layout.a_tiles(tensor, rank, site)[:, :, :, start:stop]
            area[...] = layout.a_tiles(packed.tensor, packed.rank, site)
        for role in ROLES:
            area = layout.b_tiles(tensor, rank, role)[:, :, start:stop]
            area[...] = layout.b_tiles(packed.tensor, packed.rank, role)
            factors = layout.factors_of_b(area)
            factors *= np.float32(weight)
        start = stop
    return tensor
