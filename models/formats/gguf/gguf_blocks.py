"""Turns the blocks of quantised GGUF tensors into codes and scales in groups of 32.

Q8_0, Q4_0, Q4_1 and Q5_0 are kept bit for bit, so that the kernels multiply with the published weights. Q4_K keeps its
codes; its scales and minima, products of two numbers there, are rounded to float16. Q5_1, Q5_K and Q6_K have no
counterpart among our codes and are rounded to 8 bits. The layouts are those of ggml-common.h in the ggml repository.
The package `gguf` dequantises to float32, which loses the codes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.formats.gguf.gguf_file import GgufFile
from models.formats.quantization import QuantizedMatrix, eight_below, finite, narrow, quantise_by_parts

Bytes = NDArray[np.uint8]

SUPER = 256  # weights in a block of the types that end in K
PARTS = 8  # groups of 32 in such a block


def from_q8_0(blocks: Bytes) -> QuantizedMatrix:
    """Q8_0, uint8 [out, inputs/32 * 34]: float16 scale, 32 int8 codes. Exact.

    int8 code -> uint8 code + 128 is a flip of the top bit.
    """
    fields = blocks.reshape(len(blocks), -1, 34)
    scale = _float16(fields[..., :2])
    return QuantizedMatrix(8, fields[..., 2:] ^ np.uint8(128), finite(scale), None)


def from_q4_0(blocks: Bytes) -> QuantizedMatrix:
    """Q4_0, uint8 [out, inputs/32 * 18]: float16 scale, 16 bytes of codes, value scale * (code - 8).

    Exact: the minimum -8 * scale changes only the sign and the exponent of the float16.
    """
    fields = blocks.reshape(len(blocks), -1, 18)
    scale = finite(_float16(fields[..., :2]))
    return QuantizedMatrix(4, _nibbles(fields[..., 2:]), scale, finite(eight_below(scale)))


def from_q4_1(blocks: Bytes) -> QuantizedMatrix:
    """Q4_1, uint8 [out, inputs/32 * 20]: float16 scale and minimum, 16 bytes of codes 0..15. Exact."""
    fields = blocks.reshape(len(blocks), -1, 20)
    scale, minimum = _float16(fields[..., :2]), _float16(fields[..., 2:4])
    return QuantizedMatrix(4, _nibbles(fields[..., 4:]), finite(scale), finite(minimum))


def from_q5_0(blocks: Bytes) -> QuantizedMatrix:
    """Q5_0, uint8 [out, inputs/32 * 22]: float16 scale, 4 bytes of fifth bits, 16 bytes of codes.

    Exact: value scale * (code - 16) = scale * ((code + 112) - 128).
    """
    fields = blocks.reshape(len(blocks), -1, 22)
    codes = _nibbles(fields[..., 6:]) | _fifth_bits(fields[..., 2:6])
    codes += np.uint8(112)
    return QuantizedMatrix(8, codes, finite(_float16(fields[..., :2])), None)


def from_q4_k(blocks: Bytes) -> QuantizedMatrix:
    """Q4_K, uint8 [out, inputs/256 * 144]: factors d and dmin, 6-bit scales and minima, 128 bytes of codes.

    A group's value is (d * scale) * code - dmin * minimum; the products are rounded to float16.
    """
    fields = blocks.reshape(len(blocks), -1, 144)
    scale, minimum = _k_scales(fields)
    groups = (len(blocks), -1)
    return QuantizedMatrix(
        4,
        _k_nibbles(fields[..., 16:]).reshape(*groups, 32),
        narrow(scale.reshape(groups)),
        narrow(minimum.reshape(groups)),
    )


def q5_1_floats(blocks: Bytes) -> NDArray[np.float32]:
    """Q5_1, uint8 [out, inputs/32 * 24]: float16 scale and minimum, 4 bytes of fifth bits, 16 bytes of codes."""
    fields = blocks.reshape(len(blocks), -1, 24)
    values = (_nibbles(fields[..., 8:]) | _fifth_bits(fields[..., 4:8])).astype(np.float32)
    values *= _factor(fields[..., :2])
    values += _factor(fields[..., 2:4])
    return values.reshape(len(blocks), -1)


def q5_k_floats(blocks: Bytes) -> NDArray[np.float32]:
    """Q5_K, uint8 [out, inputs/256 * 176]: as Q4_K, and before the codes 32 bytes of fifth bits, bit i for group i."""
    fields = blocks.reshape(len(blocks), -1, 176)
    scale, minimum = _k_scales(fields)
    high = fields[..., None, 16:48] >> np.arange(PARTS, dtype=np.uint8)[:, None]  # [out, blocks, 8, 32]
    values = (_k_nibbles(fields[..., 48:]) | ((high & np.uint8(1)) << np.uint8(4))).astype(np.float32)
    values *= scale[..., None]
    values += minimum[..., None]
    return values.reshape(len(blocks), -1)


def q6_k_floats(blocks: Bytes) -> NDArray[np.float32]:
    """Q6_K, uint8 [out, inputs/256 * 210]: lower four bits, upper two bits, 16 int8 scales, factor d.

    value d * scale * (code - 32), with one scale for 16 weights. Each half of 128 weights has its bits by itself:
    64 bytes whose low halves are the weights 0..63 and high halves 64..127, and 32 bytes with two bits for each of the
    weights i, i + 32, i + 64 and i + 96.
    """
    fields = blocks.reshape(len(blocks), -1, 210)
    low = fields[..., :128].reshape(*fields.shape[:2], 2, 1, 64)
    low = np.concatenate([low & np.uint8(15), low >> np.uint8(4)], axis=-2)  # [out, blocks, 2, 2, 64]
    pairs = fields[..., 128:192].reshape(*fields.shape[:2], 2, 1, 32)
    high = (pairs >> np.array([[0], [2], [4], [6]], np.uint8)) & np.uint8(3)  # [out, blocks, 2, 4, 32]
    codes = low.reshape(*fields.shape[:2], 16, 16) | (high.reshape(*fields.shape[:2], 16, 16) << np.uint8(4))
    values = codes.astype(np.float32)
    values -= np.float32(32)
    scale = fields[..., 192:208].view(np.int8).astype(np.float32)
    scale *= _factor(fields[..., 208:])
    values *= scale[..., None]
    return values.reshape(len(blocks), -1)


def _rounded(
    floats: Callable[[Bytes], NDArray[np.float32]], inputs: int, size: int
) -> Callable[[Bytes], QuantizedMatrix]:
    """Decodes blocks of a type that has `inputs` weights in `size` bytes, and rounds them to 8 bits."""

    def decode(blocks: Bytes) -> QuantizedMatrix:
        rows, row_bytes = blocks.shape
        return quantise_by_parts(lambda part: floats(blocks[part]), rows, row_bytes // size * inputs, 8)

    return decode


BLOCK_DECODERS: dict[str, Callable[[Bytes], QuantizedMatrix]] = {
    "Q8_0": from_q8_0,
    "Q4_0": from_q4_0,
    "Q4_1": from_q4_1,
    "Q5_0": from_q5_0,
    "Q5_1": _rounded(q5_1_floats, 32, 24),
    "Q4_K": from_q4_k,
    "Q5_K": _rounded(q5_k_floats, SUPER, 176),
    "Q6_K": _rounded(q6_k_floats, SUPER, 210),
}
# Types that become 4-bit codes; all others become 8-bit codes.
FOUR_BIT_TYPES = frozenset({"Q4_0", "Q4_1", "Q4_K"})


def gguf_matrix(file: GgufFile, name: str) -> QuantizedMatrix:
    """A tensor [out, inputs] of a GGUF file as codes. Floats are rounded to 8 bits."""
    info = file.tensors[name]
    if decode := BLOCK_DECODERS.get(info.type):
        return decode(file.blocks(name))
    rows, inputs = info.shape
    return quantise_by_parts(lambda part: file.floats(name, part), rows, inputs, 8)


def _nibbles(packed: Bytes) -> Bytes:
    """[..., 16] bytes -> [..., 32] codes. The low halves are the codes 0..15 of a group, the high ones 16..31."""
    return np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """[..., 4] bytes -> [..., 32] of 0 or 16: bit i is that of code i."""
    return np.unpackbits(packed, axis=-1, bitorder="little") << np.uint8(4)


def _k_nibbles(packed: Bytes) -> Bytes:
    """[..., 128] bytes -> [..., 8, 32] codes. 32 bytes hold two groups, in their low and in their high halves."""
    halves = packed.reshape(*packed.shape[:-1], 4, 1, 32)
    both = np.concatenate([halves & np.uint8(15), halves >> np.uint8(4)], axis=-2)
    return both.reshape(*packed.shape[:-1], PARTS, 32)


def _k_scales(fields: Bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and minimum of the 8 groups of blocks [..., 16 or more]: float32 [..., 8] each.

    The bytes are d and dmin as float16, then 12 bytes a[4], b[4], c[4]. The scales 0..3 are the lower six bits of a,
    the minima those of b. Scales and minima 4..7 have their lower four bits in the halves of c, and their upper two in
    the upper two of a and b.
    """
    a, b, c = fields[..., 4:8], fields[..., 8:12], fields[..., 12:16]
    top = np.uint8(6), np.uint8(4)
    scale = np.concatenate([a & np.uint8(63), (c & np.uint8(15)) | (a >> top[0] << top[1])], axis=-1)
    minimum = np.concatenate([b & np.uint8(63), (c >> np.uint8(4)) | (b >> top[0] << top[1])], axis=-1)
    return scale * _factor(fields[..., :2]), minimum * -_factor(fields[..., 2:4])


def _factor(fields: Bytes) -> NDArray[np.float32]:
    """A finite float16 [..., 2 bytes] -> float32 [..., 1]. Raises UserError."""
    return finite(_float16(fields)).astype(np.float32)[..., None]


def _float16(fields: Bytes) -> NDArray[np.float16]:
    """Little-endian bytes [..., 2] -> [...]"""
    halves: NDArray[np.float16] = np.ascontiguousarray(fields).view("<f2")[..., 0]
    return halves
