"""Layout of a packed LoRA: one uint8 tensor that compiled functions take as an argument.

A and B are rounded to 8 bits, since decoding is limited by memory bandwidth and this halves the bytes that an
adapter adds to each token. A tile of A covers 16 ranks x 32 inputs and has one scale per rank; a tile of B covers
16 outputs x 16 ranks and has one scale per output. Ranks are padded with zeros to a multiple of 16.

The tensor holds one block per layer. A block holds A of the four sites, each as
[inputs / 32][parts * rank / 16] tiles with the parts' ranks side by side, then B of the seven roles, each as
[outputs / 16][rank / 16] tiles. A tile is 64-byte chunks of 16 rows x 4 columns of uint8 codes, code = value /
scale + 128 in 1..255, followed by float32 scale[16]. The chunks are those of models/packing/tiles.py.

For a model of floats, A and B are float32: a tile is [32 inputs][16 ranks], or [16 ranks][16 outputs].

Behind all blocks lie the factors of a DoRA (arXiv 2402.09353), which multiply the outputs of the adapted linear layers:
float32 [layers][outputs of all roles]. A plain LoRA has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.packing.llama_shape import LlamaShape

MAX_RANK = 128
RANK_STEP = 16
A_TILE_BYTES = 16 * 32 + 64  # codes of 16 ranks x 32 inputs, float32 scale[16]
B_TILE_BYTES = 16 * 16 + 64  # codes of 16 outputs x 16 ranks, float32 scale[16]
# A site is a place whose activations feed linear layers; it maps to the roles of the layers that it feeds.
SITES: dict[str, tuple[str, ...]] = {
    "qkv": ("q", "k", "v"),
    "o": ("o",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}
ROLES = tuple(role for roles in SITES.values() for role in roles)


@dataclass(frozen=True)
class LoraLayout:
    """Offsets in the packed tensor, and views of its tiles.

    The size of every part grows with the rank, so that offsets are in bytes per RANK_STEP ranks: an offset times
    rank / RANK_STEP is one in bytes.
    """

    shape: LlamaShape

    @property
    def a_tile(self) -> int:
        """Bytes of a tile of A."""
        return A_TILE_BYTES if self.shape.float_type is None else 4 * 16 * 32

    @property
    def b_tile(self) -> int:
        """Bytes of a tile of B."""
        return B_TILE_BYTES if self.shape.float_type is None else 4 * 16 * 16

    def tiles(self, matrix: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
        """A matrix of A or B, float32 [rows, inputs], as tiles [rows / 16, inputs / columns, tile bytes].

        columns: inputs of a tile, 32 for A and 16 for B.
        """
        if self.shape.float_type is None:
            return lora_tiles(matrix, columns)
        # [rows / 16, 16, inputs] -> [rows / 16, inputs, 16], cut along the inputs
        floats = np.ascontiguousarray(matrix.reshape(-1, 16, matrix.shape[1]).transpose(0, 2, 1))
        return floats.reshape(len(floats), -1, columns * 16).view(np.uint8)

    def factors_of_b(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A view of what a weight of the LoRA multiplies in tiles of B: the scales, or the floats themselves."""
        return (tiles if self.shape.float_type else tiles[..., -64:]).view(np.float32)

    def a_offset(self, site: str) -> int:
        """Start of a site's A in a layer's block, in bytes per 16 ranks."""
        names = list(SITES)
        return sum(self._a_size(name) for name in names[: names.index(site)])

    def b_offset(self, role: str) -> int:
        """Start of a role's B in a layer's block, in bytes per 16 ranks."""
        before = ROLES[: ROLES.index(role)]
        return sum(self._a_size(name) for name in SITES) + sum(self._b_size(name) for name in before)

    def layer_size(self) -> int:
        """Size of a layer's block, in bytes per 16 ranks."""
        return self.b_offset(ROLES[-1]) + self._b_size(ROLES[-1])

    def size(self, rank: int, factored: bool = False) -> int:
        """Bytes of a packed tensor of this rank, a multiple of 16. factored: with the factors of a DoRA."""
        tiles = self.shape.layers * self.layer_size() * (rank // RANK_STEP)
        return tiles + (4 * self.shape.layers * self.layer_outputs() if factored else 0)

    def layer_outputs(self) -> int:
        """Outputs of all roles of a layer."""
        return sum(self.shape.matrix(role)[0] for role in ROLES)

    def first_output(self, role: str) -> int:
        """The number of a role's first output among those of its layer."""
        return sum(self.shape.matrix(name)[0] for name in ROLES[: ROLES.index(role)])

    def factors(self, tensor: NDArray[np.uint8], rank: int) -> NDArray[np.float32]:
        """A view of the factors in a packed tensor that has them: [layers, outputs of all roles]."""
        return tensor[self.size(rank) :].view(np.float32).reshape(self.shape.layers, -1)

    def a_tiles(self, tensor: NDArray[np.uint8], rank: int, site: str) -> NDArray[np.uint8]:
        """A view of a packed tensor: [layers, inputs / 32, parts, rank / 16, tile bytes]."""
        shape = (len(SITES[site]), rank // RANK_STEP, self.a_tile)
        return self._view(tensor, rank, self.a_offset(site), self._a_size(site), shape)

    def b_tiles(self, tensor: NDArray[np.uint8], rank: int, role: str) -> NDArray[np.uint8]:
        """A view of a packed tensor: [layers, outputs / 16, rank / 16, tile bytes]."""
        shape = (rank // RANK_STEP, self.b_tile)
        return self._view(tensor, rank, self.b_offset(role), self._b_size(role), shape)

    def _view(
        self, tensor: NDArray[np.uint8], rank: int, offset: int, size: int, shape: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        tiles = rank // RANK_STEP
        blocks = tensor[: self.size(rank)].reshape(self.shape.layers, -1)
        layers = blocks[:, offset * tiles : (offset + size) * tiles]
        return layers.reshape(self.shape.layers, -1, *shape)  # splits an axis, so nothing is copied

    def _a_size(self, site: str) -> int:
        roles = SITES[site]
        return self.shape.matrix(roles[0])[1] // 32 * len(roles) * self.a_tile

    def _b_size(self, role: str) -> int:
        return self.shape.matrix(role)[0] // 16 * self.b_tile


def lora_tiles(matrix: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """Round a matrix to 8 bits: float32 [rows, inputs] -> uint8 tiles [rows / 16, inputs / columns, tile bytes].

    rows must be a multiple of 16, inputs of columns, columns of 4. A tile has one scale per row, max |v| / 127, and the
    codes round(v / scale) + 128, in 1..255. A row of zeros has scale 0 and codes 128.
    """
    rows, inputs = matrix.shape
    grouped = matrix.reshape(rows // 16, 16, inputs // columns, columns)
    # The maximum over axis 0 is the faster one in numpy.
    by_column = np.ascontiguousarray(np.abs(matrix).reshape(-1, columns).T)
    largest = by_column.max(axis=0)
    scale = largest.reshape(grouped.shape[:3]) / np.float32(127.0)  # [rows / 16, 16, inputs / columns]
    # 1 / scale would overflow for a scale below 1e-38; such a row becomes zeros.
    factor = np.divide(np.float32(1.0), scale, out=np.zeros_like(scale), where=scale > np.float32(1e-38))
    scaled = grouped * factor[..., None]
    np.rint(scaled, out=scaled)
    scaled += np.float32(128)
    codes = scaled.astype(np.uint8).view(np.uint32)  # 4 codes of a row as one word
    tiles = np.empty((rows // 16, inputs // columns, 16 * columns + 64), np.uint8)
    chunks = tiles[:, :, : 16 * columns].view(np.uint32)
    # codes [block, row, group, word] -> chunks [block, group, word, row]
    chunks.reshape(*chunks.shape[:2], columns // 4, 16)[...] = codes.transpose(0, 2, 3, 1)
    tiles[:, :, 16 * columns :].view(np.float32)[...] = scale.transpose(0, 2, 1)
    return tiles


def tile_floats(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles of 8 bits, [..., tile bytes], as tiles of float32. columns: inputs of a tile."""
    lead = tiles.shape[:-1]
    codes = tiles[..., : 16 * columns].reshape(*lead, columns // 4, 16, 4)
    values = (codes.astype(np.float32) - 128).swapaxes(-1, -2).reshape(*lead, columns, 16)
    scales = np.ascontiguousarray(tiles[..., 16 * columns :]).view(np.float32)
    return (values * scales[..., None, :]).reshape(*lead, -1).view(np.uint8)
