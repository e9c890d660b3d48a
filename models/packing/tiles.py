"""A matrix as the kernels read it: tiles of 16 output rows x 32 inputs.

    codes    chunks of 64 bytes, each 16 rows x 4 consecutive inputs. Row r, input 4 c + j of 8 bits is byte 4 r + j of
             chunk c. For 4 bits, chunks 2 c and 2 c + 1 share 64 bytes: the first in the low halves, the second in the
             high ones.
    scale    float16 [16], one for each row
    minimum  float16 [16], 4 bits only, and not in a symmetric model

or, in a model of floats, 32 inputs x 16 output rows of bfloat16, float16 or float32.

A weight is scale * code + minimum for 4 bits (code 0..15), scale * (code - 8) for 4 bits of a symmetric model, and
scale * (code - 128) for 8 bits (code 0..255). A chunk is one 512-bit register of weights, which a dot product
instruction multiplies with one int32 of 4 activations.

A matrix is stored by blocks of 16 rows, each block's tiles in the order of the inputs. All layers of a role follow one
another, each in its own width. The same tiles serve every instruction set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.formats.float_matrix import FloatMatrix
from models.formats.llama_weights import Matrix

TILE_ROWS = 16
TILE_INPUTS = 32
CODE_BYTES = {4: 256, 8: 512}  # of a tile, by bits: 16 * 32 * bits / 8
# With float16 scale[16] and, for 4 bits, minimum[16]; 16 and 32 bits are floats.
TILE_BYTES = {4: 320, 8: 544, 16: 1024, 32: 2048}
SYMMETRIC_BYTES = TILE_BYTES | {4: 288}  # the same of a symmetric model, without the minimum


def pack_matrix(matrix: Matrix, symmetric: bool = False) -> NDArray[np.uint8]:
    """Pack a matrix into tiles: uint8 [rows / 16, inputs / 32, bytes]. Rows are padded to a multiple of 16.

    symmetric: of the model. The minimum of 4-bit tiles, which must be -8 * scale, is then left out. Padding rows have
    scale and minimum 0 and so are zero.
    """
    if isinstance(matrix, FloatMatrix):
        return matrix.blocks(TILE_ROWS).reshape(-1, matrix.shape[1] // TILE_INPUTS, TILE_BYTES[matrix.bits])
    codes = np.asarray(matrix.codes, dtype=np.uint8)
    rows, groups = codes.shape[:2]
    blocks = -(-rows // TILE_ROWS)
    zero = 0 if matrix.bits == 4 else 128  # the code of weight 0, with minimum 0
    codes = _pad_rows(codes, blocks * TILE_ROWS, zero).reshape(blocks, TILE_ROWS, groups, TILE_INPUTS)
    if matrix.bits == 4:
        # inputs 32 = 4 pairs of chunks x 2 chunks x 4; -> [block, group, pair, chunk, row, 4]
        pairs = codes.reshape(blocks, TILE_ROWS, groups, 4, 2, 4).transpose(0, 2, 3, 4, 1, 5)
        packed: NDArray[np.uint8] = pairs[:, :, :, 0] | (pairs[:, :, :, 1] << np.uint8(4))
    else:
        # inputs 32 = 8 chunks x 4; -> [block, group, chunk, row, 4]
        packed = codes.reshape(blocks, TILE_ROWS, groups, 8, 4).transpose(0, 2, 3, 1, 4)
    sizes = SYMMETRIC_BYTES if symmetric else TILE_BYTES
    tiles = np.empty((blocks, groups, sizes[matrix.bits]), np.uint8)
    size = CODE_BYTES[matrix.bits]
    tiles[:, :, :size] = packed.reshape(blocks, groups, size)
    tiles[:, :, size : size + 32] = _halves(matrix.scale, blocks)
    if matrix.bits == 4 and not symmetric:
        assert matrix.minimum is not None
        tiles[:, :, size + 32 :] = _halves(matrix.minimum, blocks)
    return tiles


def _pad_rows(array: NDArray[Any], rows: int, value: int) -> NDArray[Any]:
    if len(array) == rows:
        return array
    padded = np.full((rows, *array.shape[1:]), value, array.dtype)
    padded[: len(array)] = array
    return padded


def _halves(values: NDArray[np.float16], blocks: int) -> NDArray[np.uint8]:
    """float16 [rows, groups] -> bytes [blocks, groups, 32]."""
    padded = _pad_rows(np.asarray(values, np.float16), blocks * TILE_ROWS, 0)
    by_tile = np.ascontiguousarray(padded.reshape(blocks, TILE_ROWS, -1).transpose(0, 2, 1))
    return by_tile.view(np.uint8)
