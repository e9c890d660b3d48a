"""The sizes that the kernels of a SigLIP tower are compiled for, and the layout of its packed weights.

A matrix is stored in panels of 32 output rows. A panel is a sequence of blocks, one for each group of 32 inputs:

    codes    uint8 [8][32][4]: row r, input 4 c + j of the group is byte 128 c + 4 r + j; weight = scale * (code - 128)
    scales   float32 [32], one for each row

In a tower of floats a block has 32 inputs x 32 rows of a type. Connector and LoRA are then float32.

Widths are padded to multiples of 32 with zeros, so that a panel's 32 outputs are one group of the next layer's inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.formats.float_matrix import FLOAT_BITS, FloatMatrix, FloatType
from models.formats.quantization import QuantizedMatrix

GROUP = 32
TILE_ROWS = 6
"""Rows of activations that the kernels compute at once. Even, since attention takes values in pairs of rows."""

BLOCK_TILES = 22
"""Tiles of rows that a thread takes through all steps of a phase before it turns to the next: 132 rows.

Each panel of weights is read once for a block. The activations of a block fit into the second-level cache.
"""

BLOCK_BYTES = 32 * GROUP + 4 * 32
KEYS_AT_ONCE = 64
"""Keys whose products with attention weights are summed as integers before they are added up as float32."""

TILES_AT_ONCE = 4
"""Tiles of queries that take their turns with each piece of the keys and values."""

MAX_RANK = 64
LINEAR_ROLES = ("q", "k", "v", "o", "fc1", "fc2")
VECTORS = (
    "norm1.weight", "norm1.bias", "q.bias", "k.bias", "v.bias", "o.bias",
    "norm2.weight", "norm2.bias", "fc1.bias", "fc2.bias",
)  # fmt: skip
"""The float32 vectors of a layer, in the order in which they are stored."""

# The inputs that linear layers share, and the layers that read them. LoRA's A is multiplied once with each.
SITES: dict[str, tuple[str, ...]] = {"qkv": ("q", "k", "v"), "o": ("o",), "fc1": ("fc1",), "fc2": ("fc2",)}


def padded(width: int, to: int = GROUP) -> int:
    """The width rounded up to a multiple."""
    return -(-width // to) * to


@dataclass(frozen=True)
class SiglipShape:
    """The sizes of a tower. Numbers of layers and outputs of the connector are run-time arguments.

    hidden, inner: widths of the residual stream and of the MLP. side: patches on a side of a tile. patch: pixels on a
    side of a patch. shuffle: patches on a side of the square that becomes one output row. epsilon: of the layer norms.
    float_type: of layers and patch embedding in a tower of floats; None for 8 bits.
    Raises ValueError for sizes that the kernels do not support.
    """

    hidden: int
    inner: int
    heads: int
    side: int
    patch: int
    shuffle: int
    epsilon: float
    float_type: FloatType | None = None

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.head % 8 or self.side % self.shuffle:
            raise ValueError(f"no kernels for this shape: {self}")

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def head_vectors(self) -> int:
        """Vectors of 16 that hold one head."""
        return padded(self.head, 16) // 16

    @property
    def patches(self) -> int:
        """Patches of a tile, which are the rows of the tower."""
        return self.side * self.side

    @property
    def tiles(self) -> int:
        """Tiles of rows."""
        return -(-self.patches // TILE_ROWS)

    @property
    def keys(self) -> int:
        """Rows rounded up to what attention takes at once."""
        return padded(self.patches, KEYS_AT_ONCE)

    @property
    def width(self) -> int:
        """The padded width of the residual stream."""
        return padded(self.hidden)

    @property
    def inner_width(self) -> int:
        """The padded width of the MLP."""
        return padded(self.inner)

    @property
    def pixel_width(self) -> int:
        """The padded number of values of a patch."""
        return padded(3 * self.patch * self.patch)

    @property
    def output_rows(self) -> int:
        """Rows that the connector makes of a tile."""
        return self.patches // self.shuffle**2

    @property
    def output_tiles(self) -> int:
        return -(-self.output_rows // TILE_ROWS)

    @property
    def connector_width(self) -> int:
        """Inputs of the connector: the padded rows of a square of patches."""
        return self.width * self.shuffle**2

    def matrix(self, role: str) -> tuple[int, int]:
        """(outputs, inputs) of a layer's matrix, padded."""
        outputs = self.inner_width if role == "fc1" else self.width
        return outputs, self.inner_width if role == "fc2" else self.width

    def vector(self, name: str) -> int:
        """Length of one of VECTORS, padded."""
        return self.inner_width if name == "fc1.bias" else self.width

    def role_offset(self, role: str) -> int:
        """Offset in bytes of a role's matrix within a layer."""
        before = LINEAR_ROLES[: LINEAR_ROLES.index(role)]
        return sum(panel_bytes(*self.matrix(each), self.float_type) for each in before)

    @property
    def exact_type(self) -> FloatType | None:
        """The type of connector and LoRA."""
        return None if self.float_type is None else "f32"

    @property
    def layer_bytes(self) -> int:
        """Bytes of a layer's matrices."""
        return sum(panel_bytes(*self.matrix(role), self.float_type) for role in LINEAR_ROLES)

    def vector_offset(self, name: str) -> int:
        """Offset in floats of a vector within a layer."""
        return sum(self.vector(each) for each in VECTORS[: VECTORS.index(name)])

    @property
    def layer_floats(self) -> int:
        """Floats of a layer's vectors."""
        return sum(self.vector(name) for name in VECTORS)

    def factor_offset(self, role: str) -> int:
        """Offset in floats of a role's output factors within a layer."""
        return sum(self.matrix(each)[0] for each in LINEAR_ROLES[: LINEAR_ROLES.index(role)])

    @property
    def layer_factors(self) -> int:
        """Output factors of a layer."""
        return sum(self.matrix(role)[0] for role in LINEAR_ROLES)

    def a_offset(self, site: str) -> int:
        """Offset in bytes of a site's LoRA A within a layer's LoRA, for a rank of 32."""
        names = list(SITES)
        return sum(self._a_bytes(name) for name in names[: names.index(site)])

    def b_offset(self, role: str) -> int:
        """Offset in bytes of a role's LoRA B within a layer's LoRA, for a rank of 32."""
        before = LINEAR_ROLES[: LINEAR_ROLES.index(role)]
        a = sum(self._a_bytes(name) for name in SITES)
        return a + sum(panel_bytes(self.matrix(each)[0], GROUP, self.exact_type) for each in before)

    @property
    def layer_lora_bytes(self) -> int:
        """Bytes of a layer's LoRA, for a rank of 32."""
        return self.b_offset("fc2") + panel_bytes(self.matrix("fc2")[0], GROUP, self.exact_type)

    def _a_bytes(self, site: str) -> int:
        roles = SITES[site]
        return panel_bytes(GROUP * len(roles), self.matrix(roles[0])[1], self.exact_type)


def block_bytes(kind: FloatType | None) -> int:
    """Bytes of a block of 8 bits, or of floats."""
    return BLOCK_BYTES if kind is None else 32 * GROUP * FLOAT_BITS[kind] // 8


def panel_bytes(outputs: int, inputs: int, kind: FloatType | None = None) -> int:
    """Bytes of a packed matrix. Both sizes are multiples of 32. kind: None for 8 bits."""
    return outputs // 32 * (inputs // GROUP) * block_bytes(kind)


def pack_panels(matrix: QuantizedMatrix | FloatMatrix, outputs: int | None = None) -> NDArray[np.uint8]:
    """Pack a matrix of 8 bits or of floats: flat uint8 [panel_bytes(outputs, inputs, kind)].

    outputs: rows of 8 bits after padding with zeros; None pads to the next multiple of 32.
    """
    if isinstance(matrix, FloatMatrix):
        return matrix.blocks(32).reshape(-1)
    codes, scale = np.asarray(matrix.codes), np.asarray(matrix.scale, np.float32)
    rows, groups = codes.shape[:2]
    panels = (outputs or padded(rows)) // 32
    if rows < 32 * panels:
        missing = 32 * panels - rows
        codes = np.concatenate([codes, np.full((missing, groups, GROUP), 128, np.uint8)])
        scale = np.concatenate([scale, np.zeros((missing, groups), np.float32)])
    blocks = np.empty((panels, groups, BLOCK_BYTES), np.uint8)
    # [panel, row, group, chunk, 4] -> [panel, group, chunk, row, 4]
    ordered = codes.reshape(panels, 32, groups, 8, 4).transpose(0, 2, 3, 1, 4)
    blocks[..., : 32 * GROUP] = ordered.reshape(panels, groups, 32 * GROUP)
    scales = np.ascontiguousarray(scale.reshape(panels, 32, groups).transpose(0, 2, 1))
    blocks[..., 32 * GROUP :] = scales.view(np.uint8)
    return blocks.reshape(-1)
