"""The weighted sum of adapters as one adapter that the kernels run like any other.

(sum w_i B_i A_i) x is one LoRA whose ranks are those of all side by side. Packed adapters are joined as they
are, so nothing is rounded a second time. Knows nothing of where they come from or how they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.compiler.buffers import aligned_zeros
from models.core.errors import UserError
from models.lora.weights import MAX_RANK, RANK_STEP, ROLES, SITES, LoraLayout, PackedLora, ReadsText
from models.packing.packed_model import LlamaShape
from models.vision.projector_file import ProjectorPart

Weighted = Sequence[tuple[PackedLora, float]]

_MOST_READING_FIRST: tuple[ReadsText, ...] = ("always", "auto", "never")


def add_packed(shape: LlamaShape, name: str, generation: int, parts: Weighted) -> PackedLora:
    """The sum of the parts, each times its weight; the weights go into B's scales.

    Text is read when one of them wants it, and so with the line of words. Raises UserError when the ranks,
    each rounded up to a multiple of 16, sum to more than 128.
    """
    rank = sum(packed.rank for packed, _ in parts)
    if rank > MAX_RANK:
        ranks = " + ".join(str(packed.rank) for packed, _ in parts)
        raise UserError(
            f"The adapters of {name} have the ranks {ranks} = {rank} (in steps of {RANK_STEP}); together at most "
            f"{MAX_RANK} can run, so leave some out."
        )
    wanted = {packed.ocr for packed, _ in parts}
    return PackedLora(
        name=name,
        generation=generation,
        rank=rank,
        tensor=_side_by_side(LoraLayout(shape), rank, parts),
        projector=_add_projectors(parts),
        ocr=next(each for each in _MOST_READING_FIRST if each in wanted),
        words=any(packed.words for packed, _ in parts),
    )


def _side_by_side(layout: LoraLayout, rank: int, parts: Weighted) -> NDArray[np.uint8]:
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


def _add_projectors(parts: Weighted) -> ProjectorPart | None:
    """Every head that one of the parts sees with, their own ones after the model's; weighted LoRAs add up.

    A head's tokens are what they are: weights do not apply to heads.
    """
    if all(packed.projector is None for packed, _ in parts):
        return None
    keep: list[str] | None = []
    heads = []
    for packed, _ in parts:
        part = _projector(packed)
        heads += [replace(head, name=f"{packed.name}.{head.name}") for head in part.heads]
        if part.keep is None:
            keep = None
        elif keep is not None:
            keep += [name for name in part.keep if name not in keep]
    return ProjectorPart(None if keep is None else tuple(keep), tuple(heads), _add_loras(parts))


def _add_loras(parts: Weighted) -> dict[str, NDArray[np.float32]]:
    """A [rank, features] one above the other, weighted B [words, rank] side by side."""
    pieces: dict[str, list[NDArray[np.float32]]] = {}
    for packed, weight in parts:
        for name, tensor in _projector(packed).lora.items():
            scaled = tensor if name.endswith(".A") else tensor * np.float32(weight)
            pieces.setdefault(name, []).append(scaled)
    return {name: np.concatenate(each, axis=0 if name.endswith(".A") else 1) for name, each in pieces.items()}


def _projector(packed: PackedLora) -> ProjectorPart:
    return packed.projector or ProjectorPart()
