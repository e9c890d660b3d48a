"""LoRA weights as one tensor that compiled functions take as an argument.

The kernels compute y = W x + B (A x): nothing is merged, nothing recompiled, and changing the adapter is
passing another tensor. A and B are rounded to 8 bits, A by 16 ranks x 32 inputs with one scale for each rank,
B by 16 outputs x 16 ranks with one scale for each output: at decoding speeds memory is what limits, and this
halves what an adapter adds to each token. Ranks are padded with zeros to a multiple of 16. Knows nothing of
PEFT files, of where adapters come from or of which one to use.

Layout, layer after layer (LoraLayout): A of the four places where activations are produced (before q/k/v,
before o, before gate/up, before down), each [inputs / 32][parts * rank / 16] tiles with the parts' ranks side
by side; then B of the seven roles, each [outputs / 16][rank / 16] tiles. A tile is that of
models/packing/packed_model.py
with float32 scales: 64-byte chunks of 16 rows x 4 columns of code + 128, then scale[16].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.compiler.buffers import aligned_zeros, as_tensor
from models.core.errors import UserError
from models.packing.packed_model import LlamaShape
from models.vision.projector_file import ProjectorPart

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
    folded into B; a missing module counts as zero. projector: what it changes of the image tokens. name
    and generation identify the adapter for caches: a changed adapter has a new generation.
    ocr, words: what it was trained to find in prompts: the text in images, the line of words about them.
    """

    name: str
    generation: int
    rank: int
    tensors: Mapping[str, NDArray[np.float32]] = field(repr=False)
    projector: ProjectorPart | None = field(default=None, repr=False)
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

    def size(self, rank: int) -> int:
        """Bytes of a whole adapter of this padded rank."""
        return self.shape.layers * self.layer_size() * (rank // RANK_STEP)

    def a_tiles(self, tensor: NDArray[np.uint8], rank: int, site: str) -> NDArray[np.uint8]:
        """A view of a packed tensor: [layers, inputs / 32, parts, rank / 16, tile bytes]."""
        shape = (len(SITES[site]), rank // RANK_STEP, A_TILE_BYTES)
        return self._view(tensor, rank, self.a_offset(site), self._a_size(site), shape)

    def b_tiles(self, tensor: NDArray[np.uint8], rank: int, role: str) -> NDArray[np.uint8]:
        """A view of a packed tensor: [layers, outputs / 16, rank / 16, tile bytes]."""
        shape = (rank // RANK_STEP, B_TILE_BYTES)
        return self._view(tensor, rank, self.b_offset(role), self._b_size(role), shape)

    def _view(
        self, tensor: NDArray[np.uint8], rank: int, offset: int, size: int, shape: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        tiles = rank // RANK_STEP
        layers = tensor.reshape(self.shape.layers, -1)[:, offset * tiles : (offset + size) * tiles]
        return layers.reshape(self.shape.layers, -1, *shape)  # splits an axis, so nothing is copied

    def _a_size(self, site: str) -> int:
        roles = SITES[site]
        return self.shape.matrix(roles[0])[1] // 32 * len(roles) * A_TILE_BYTES

    def _b_size(self, role: str) -> int:
        return self.shape.matrix(role)[0] // 16 * B_TILE_BYTES


@dataclass(frozen=True)
class PackedLora:
    """An adapter that is ready to run. rank is padded; tensor is uint8, flat and aligned.

    name, generation, projector, ocr and words are those of the LoraWeights that it was made of.
    """

    name: str
    generation: int
    rank: int
    tensor: NDArray[np.uint8] = field(repr=False)
    projector: ProjectorPart | None = field(default=None, repr=False)
    ocr: ReadsText = "auto"
    words: bool = True

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.tensor.nbytes + (self.projector.size if self.projector else 0)

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
    tensor = aligned_zeros(layout.size(rank), np.uint8)
    for layer in range(shape.layers):  # one at a time: its numbers stay in the processor's cache
        for site, roles in SITES.items():
            area = layout.a_tiles(tensor, rank, site)[layer]
            stacked = np.zeros((len(roles), rank, shape.matrix(roles[0])[1]), np.float32)
            for part, role in enumerate(roles):
                if (a := weights.tensors.get(f"layers.{layer}.{role}_proj.A")) is not None:
                    stacked[part, : weights.rank] = a
            tiles = lora_tiles(stacked.reshape(len(roles) * rank, -1), 32)
            area[...] = tiles.reshape(len(roles), -1, *tiles.shape[1:]).transpose(2, 0, 1, 3)
        for role in ROLES:
            padded = np.zeros((shape.matrix(role)[0], rank), np.float32)
            if (b := weights.tensors.get(f"layers.{layer}.{role}_proj.B")) is not None:
                padded[:, : weights.rank] = b
            layout.b_tiles(tensor, rank, role)[layer] = lora_tiles(padded, 16)
    return PackedLora(
        weights.name, weights.generation, rank, tensor, weights.projector, weights.ocr, weights.words
    )


def lora_tiles(matrix: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """float32 [rows, inputs] -> tiles [rows / 16, inputs / columns, 16 * columns + 64]."""
    rows, inputs = matrix.shape
    grouped = matrix.reshape(rows // 16, 16, inputs // columns, columns)
    by_column = np.ascontiguousarray(np.abs(matrix).reshape(-1, columns).T)  # the maximum is quicker this way
    largest = by_column.max(axis=0)
    scale = largest.reshape(grouped.shape[:3]) / np.float32(127.0)
    factor = np.divide(np.float32(1.0), scale, out=np.zeros_like(scale), where=scale > np.float32(1e-38))
    scaled = grouped * factor[..., None]
    np.rint(scaled, out=scaled)
    scaled += np.float32(128)
    codes = scaled.astype(np.uint8).view(np.uint32)  # 4 columns of a row stay together
    tiles = np.empty((rows // 16, inputs // columns, 16 * columns + 64), np.uint8)
    chunks = tiles[:, :, : 16 * columns].view(np.uint32)
    chunks.reshape(*chunks.shape[:2], columns // 4, 16)[...] = codes.transpose(0, 2, 3, 1)
    tiles[:, :, 16 * columns :].view(np.float32)[...] = scale.transpose(0, 2, 1)
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
