"""LoRA weights as one tensor that compiled functions take as an argument.

The kernels compute y = W x + B (A x): nothing is merged, nothing recompiled, and changing the adapter is
passing another tensor. A and B are rounded to 8 bits, A by 16 ranks x 32 inputs with one scale for each rank,
B by 16 outputs x 16 ranks with one scale for each output: at decoding speeds memory is what limits, and this
halves what an adapter adds to each token. Ranks are padded with zeros to a multiple of 16. Knows nothing of
PEFT files, of where adapters come from or of which one to use.

Layout, layer after layer (LoraLayout): A of the four places where activations are produced (before q/k/v,
before o, before gate/up, before down), each [inputs / 32][parts * rank / 16] tiles with the parts' ranks side
by side; then B of the seven roles, each [outputs / 16][rank / 16] tiles. A tile is that of models/packing.py
with float32 scales: 64-byte chunks of 16 rows x 4 columns of code + 128, then scale[16].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.buffers import aligned_zeros, as_tensor
from models.errors import UserError
from models.packing import LlamaShape

MAX_RANK = 128
RANK_STEP = 16
A_TILE_BYTES = 16 * 32 + 64
B_TILE_BYTES = 16 * 16 + 64
# The places whose activations feed linear layers, and the roles that each feeds.
SITES: dict[str, tuple[str, ...]] = {
    "qkv": ("q", "k", "v"),
    "o": ("o",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}
ROLES = tuple(role for roles in SITES.values() for role in roles)

ReadsText = Literal["auto", "always", "never"]
"""Whether the text in images is read (OCR) for an adapter; "auto": in images that look like documents."""


@dataclass(frozen=True)
class LoraWeights:
    """One adapter's tensors.

    tensors: "layers.{i}.{role}_proj.A" float32 [rank, inputs] and ".B" [outputs, rank], lora_alpha / rank
    folded into B; a missing module counts as zero. projector: "heads.{name}.A" [rank, features] and ".B"
    [words, rank]. name and generation identify the adapter for caches: a changed adapter has a new generation.
    ocr, words: what it was trained to find in prompts: the text in images, the line of words about them.
    """

    name: str
    generation: int
    rank: int
    tensors: Mapping[str, NDArray[np.float32]] = field(repr=False)
    projector: Mapping[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    ocr: ReadsText = "auto"
    words: bool = True


@dataclass(frozen=True)
class LoraLayout:
    """Offsets in the packed tensor, in bytes per 16 ranks."""

    shape: LlamaShape

    def a_offset(self, site: str) -> int:
        names = list(SITES)
        return sum(self._a_size(name) for name in names[: names.index(site)])

    def b_offset(self, role: str) -> int:
        before = ROLES[: ROLES.index(role)]
        return sum(self._a_size(name) for name in SITES) + sum(self._b_size(name) for name in before)

    def layer_size(self) -> int:
        return self.b_offset(ROLES[-1]) + self._b_size(ROLES[-1])

    def _a_size(self, site: str) -> int:
        roles = SITES[site]
        return self.shape.matrix(roles[0])[1] // 32 * len(roles) * A_TILE_BYTES

    def _b_size(self, role: str) -> int:
        return self.shape.matrix(role)[0] // 16 * B_TILE_BYTES


@dataclass(frozen=True)
class PackedLora:
    """An adapter that is ready to run. rank is padded; tensor is uint8, flat and aligned."""

    name: str
    generation: int
    rank: int
    tensor: NDArray[np.uint8] = field(repr=False)

    @cached_property
    def argument(self) -> Any:
        """The tensor as compiled functions take it, made once: switching adapters is passing another one."""
        return as_tensor(self.tensor)


def pack_lora(shape: LlamaShape, weights: LoraWeights) -> PackedLora:
    """Convert to the kernels' layout, once per adapter.

    Raises UserError when a tensor does not fit the model, is not finite, or the rank is not in 1..128.
    """
    _validate(shape, weights)
    rank = -(-weights.rank // RANK_STEP) * RANK_STEP
    layout = LoraLayout(shape)
    tensor = aligned_zeros(shape.layers * layout.layer_size() * (rank // RANK_STEP), np.uint8)
    for layer, area in enumerate(tensor.reshape(shape.layers, -1)):
        prefix = f"layers.{layer}."
        for site, roles in SITES.items():
            stacked = np.zeros((len(roles), rank, shape.matrix(roles[0])[1]), np.float32)
            for part, role in enumerate(roles):
                if (a := weights.tensors.get(f"{prefix}{role}_proj.A")) is not None:
                    stacked[part, : weights.rank] = a
            tiles = lora_tiles(stacked.reshape(len(roles) * rank, -1), 32).transpose(1, 0, 2)
            start = layout.a_offset(site) * rank // RANK_STEP
            area[start : start + tiles.size] = tiles.reshape(-1)
        for role in ROLES:
            padded = np.zeros((shape.matrix(role)[0], rank), np.float32)
            if (b := weights.tensors.get(f"{prefix}{role}_proj.B")) is not None:
                padded[:, : weights.rank] = b
            tiles = lora_tiles(padded, 16)
            start = layout.b_offset(role) * rank // RANK_STEP
            area[start : start + tiles.size] = tiles.reshape(-1)
    return PackedLora(weights.name, weights.generation, rank, tensor)


def lora_tiles(matrix: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """float32 [rows, inputs] -> tiles [rows / 16, inputs / columns, 16 * columns + 64]."""
    rows, inputs = matrix.shape
    grouped = matrix.reshape(rows // 16, 16, inputs // columns, columns)
    scale = np.abs(grouped).max(axis=-1) / np.float32(127.0)
    factor = np.divide(np.float32(1.0), scale, out=np.zeros_like(scale), where=scale > np.float32(1e-38))
    codes = (np.rint(grouped * factor[..., None]) + 128).astype(np.uint8)
    chunks = codes.reshape(rows // 16, 16, inputs // columns, columns // 4, 4).transpose(0, 2, 3, 1, 4)
    tiles = np.empty((rows // 16, inputs // columns, 16 * columns + 64), np.uint8)
    tiles[:, :, : 16 * columns] = chunks.reshape(rows // 16, inputs // columns, -1)
    scales = np.ascontiguousarray(scale.transpose(0, 2, 1))
    tiles[:, :, 16 * columns :] = scales.view(np.uint8).reshape(rows // 16, inputs // columns, 64)
    return tiles


def _validate(shape: LlamaShape, weights: LoraWeights) -> None:
    if not 1 <= weights.rank <= MAX_RANK:
        raise UserError(
            f"The adapter {weights.name} has rank {weights.rank}; ranks from 1 to {MAX_RANK} can run."
        )
    expected: dict[str, tuple[int, int]] = {}
    for layer in range(shape.layers):
        for role in ROLES:
            outputs, inputs = shape.matrix(role)
            expected[f"layers.{layer}.{role}_proj.A"] = (weights.rank, inputs)
            expected[f"layers.{layer}.{role}_proj.B"] = (outputs, weights.rank)
    for name, tensor in weights.tensors.items():
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


def combine(name: str, parts: Sequence[tuple[LoraWeights, float]]) -> LoraWeights:
    """The weighted sum of adapters as one adapter: ranks side by side, exact, scales folded into B.

    Raises UserError when the ranks together exceed 128.
    """
    rank = sum(weights.rank for weights, _ in parts)
    if not 1 <= rank <= MAX_RANK:
        raise UserError(
            f"The adapters of {name} have ranks that sum to {rank}; at most {MAX_RANK} can run at once."
        )
    return LoraWeights(
        name=name,
        generation=zlib.crc32(repr([(w.name, w.generation, scale) for w, scale in parts]).encode()),
        rank=rank,
        tensors=_side_by_side([(w.tensors, w.rank, scale) for w, scale in parts]),
        projector=_side_by_side([(w.projector, w.rank, scale) for w, scale in parts]),
    )


def _side_by_side(
    parts: Sequence[tuple[Mapping[str, NDArray[np.float32]], int, float]],
) -> dict[str, NDArray[np.float32]]:
    names = {name for tensors, _, _ in parts for name in tensors}
    combined: dict[str, NDArray[np.float32]] = {}
    for name in names:
        is_a = name.endswith(".A")
        width = next(tensors[name].shape[1 if is_a else 0] for tensors, _, _ in parts if name in tensors)
        pieces = []
        for tensors, rank, scale in parts:
            absent = np.zeros((rank, width) if is_a else (width, rank), np.float32)
            pieces.append(tensors.get(name, absent) * np.float32(1.0 if is_a else scale))
        combined[name] = np.concatenate(pieces, axis=0 if is_a else 1)
    return combined
