"""The weights of a packed model as float32 again: what the factors of a DoRA are computed from."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from models.formats.float_matrix import from_blocks
from models.formats.llama_weights import LINEAR_ROLES
from models.formats.quantization import QuantizedMatrix, eight_below
from models.packing.packed_model import PackedModel
from models.packing.tiles import CODE_BYTES, SYMMETRIC_BYTES, TILE_BYTES, TILE_INPUTS, TILE_ROWS

_MODULE = re.compile(rf"layers\.(\d+)\.({'|'.join(LINEAR_ROLES)})_proj")


def module_weights(model: PackedModel, module: str) -> NDArray[np.float32]:
    """W of a linear layer, float32 [outputs, inputs].

    module: "layers.{i}.{role}_proj". Raises KeyError for a module that the model does not have.
    """
    match = _MODULE.fullmatch(module)
    if match is None or int(match[1]) >= model.shape.layers:
        raise KeyError(module)
    role, layer = match[2], int(match[1])
    shape = model.shape
    outputs, inputs = shape.matrix(role)
    start, end = (shape.layer_offset(role, number) for number in (layer, layer + 1))
    tiles = model.sections[role][start:end]
    if shape.float_type is not None:
        return from_blocks(shape.float_type, tiles, TILE_ROWS, inputs).values[:outputs]
    return unpack_matrix(tiles, shape.layer_bits(role, layer), inputs, shape.symmetric).dequantise()[:outputs]


def unpack_matrix(
    tiles: NDArray[np.uint8], bits: int, inputs: int, symmetric: bool = False
) -> QuantizedMatrix:
    """The inverse of models.packing.tiles.pack_matrix, with its rows of padding. tiles: of any shape."""
    groups, size = inputs // TILE_INPUTS, CODE_BYTES[bits]
    tiles = tiles.reshape(-1, groups, (SYMMETRIC_BYTES if symmetric else TILE_BYTES)[bits])
    blocks = len(tiles)
    rows = blocks * TILE_ROWS
    packed = tiles[..., :size]
    if bits == 4:
        halves = packed.reshape(blocks, groups, 4, 1, TILE_ROWS, 4)
        pairs = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=3)
        codes = pairs.transpose(0, 4, 1, 2, 3, 5)  # [block, row, group, pair, chunk, 4]
    else:
        codes = packed.reshape(blocks, groups, 8, TILE_ROWS, 4).transpose(0, 3, 1, 2, 4)
    scale = _halves(tiles[..., size : size + 32])
    minimum = eight_below(scale) if symmetric else _halves(tiles[..., size + 32 :])
    return QuantizedMatrix(
        4 if bits == 4 else 8,
        codes.reshape(rows, groups, TILE_INPUTS),
        scale,
        minimum if bits == 4 else None,
    )


def _halves(fields: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Bytes [blocks, groups, 32] -> float16 [rows, groups]."""
    values = np.ascontiguousarray(fields).view(np.float16)  # [block, group, row]
    return values.transpose(0, 2, 1).reshape(-1, fields.shape[1])
