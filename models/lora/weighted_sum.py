"""The weighted sum of LoRAs as one LoRA that the kernels run like any other.

(sum w_i B_i A_i) x is one LoRA whose rank is the sum of the ranks. Packed tiles are copied as they are and the
weights multiply B's scales, so that no value is rounded a second time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.compiler.tvm_runtime import aligned_zeros
from models.core.errors import UserError
from models.lora.weights import PackedLora
from models.packing.lora_layout import MAX_RANK, RANK_STEP, ROLES, SITES, LoraLayout
from models.packing.packed_model import LlamaShape

Weighted = Sequence[tuple[PackedLora, float]]


def add_packed(shape: LlamaShape, name: str, generation: int, parts: Weighted) -> PackedLora:
    """The sum of the parts, each times its weight.

    Raises UserError when the ranks, each rounded up to a multiple of 16, sum to more than MAX_RANK.
    """
    rank = sum(packed.rank for packed, _ in parts)
    if rank > MAX_RANK:
        ranks = " + ".join(str(packed.rank) for packed, _ in parts)
        raise UserError(
            f"The adapters of {name} have the ranks {ranks} = {rank} (in steps of {RANK_STEP}); together at most "
            f"{MAX_RANK} can run, so leave some out."
        )
    return PackedLora(name, generation, rank, _side_by_side(LoraLayout(shape), rank, parts))


def _side_by_side(layout: LoraLayout, rank: int, parts: Weighted) -> NDArray[np.uint8]:
    """The packed tensor of the sum: the parts' tiles along the axis of ranks, in order."""
    tensor = aligned_zeros(layout.size(rank), np.uint8)
    start = 0
    for packed, weight in parts:
        stop = start + packed.rank // RANK_STEP
        for site in SITES:
            area = layout.a_tiles(tensor, rank, site)[:, :, :, start:stop]
            area[...] = layout.a_tiles(packed.tensor, packed.rank, site)
        for role in ROLES:
            area = layout.b_tiles(tensor, rank, role)[:, :, start:stop]
            area[...] = layout.b_tiles(packed.tensor, packed.rank, role)
            scales = area[..., -64:].view(np.float32)
            scales *= np.float32(weight)
        start = stop
    return tensor
