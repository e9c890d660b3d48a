"""The instruction sets: the width of a register, and the int8 dot product of each.

Every kernel path computes the same integers. Only the number of lanes and the instructions differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath

Expr = Any  # a tvm.tirx expression


@dataclass(frozen=True)
class Machine:
    """The registers and instructions that emitted code may use on a kernel path.

    lanes: 32-bit lanes of one register, which are the output rows of one integer accumulator.
    tile_rows: activation rows of a prefill tile, each with an accumulator in a register.
    attention_rows: queries of one head that prefill's attention computes at once.
    attention_blocks: blocks of 16 positions whose scores decode's attention sums at once.
    attention_vectors: vectors of 16 values that attention sums at once.
    fused: has a fused multiply-add. Without it results differ in the last bits.
    half: converts between float16 and float32 in hardware.

    The numbers keep the accumulators of an inner loop in registers: there are 32 of 16 lanes with AVX-512, 16 of 8 with
    AVX2, 32 of 4 with NEON.
    """

    path: KernelPath
    lanes: int
    tile_rows: int
    attention_rows: int
    attention_blocks: int
    attention_vectors: int
    fused: bool
    half: bool


# path, lanes, tile_rows, attention_rows, attention_blocks, attention_vectors
MACHINES: dict[KernelPath, Machine] = {
    "avx512vnni": Machine("avx512vnni", 16, 8, 8, 4, 4, fused=True, half=True),
    "avxvnni": Machine("avxvnni", 8, 4, 4, 1, 2, fused=True, half=True),
    "avx2": Machine("avx2", 8, 4, 4, 1, 2, fused=True, half=True),
    "neon": Machine("neon", 4, 8, 4, 1, 2, fused=True, half=True),
    "generic": Machine("generic", 4, 4, 4, 1, 2, fused=False, half=False),
}


def intrinsic(name: str, dtype: str, *arguments: Expr) -> Expr:
    """A call of an LLVM intrinsic without side effects."""
    return tir.call_llvm_pure_intrin(tir.llvm_lookup_intrinsic_id(name), *arguments, dtype=dtype)


def dot(machine: Machine, total: Expr, weights: Expr, word: Expr, bits: int) -> Expr:
    """total[i] + sum over j < 4 of weights[4 i + j] * word.byte[j], exact.

    total: int32 x lanes, initially dot_start(). weights: uint8 x (4 lanes), each below 2**bits; with 8 bits a weight w
    stands for w - 128. word: int32 with four int8 activations in -127..127, the same for every lane.

    A sum over a tile of 32 inputs is at most 32 * 255 * 127 < 2**20 in magnitude, so that it is exact in float32 too.
    """
    lanes, count = machine.lanes, 4 * machine.lanes
    if machine.path == "generic":
        return _dot_generic(lanes, total, weights, word)
    activations = tir.reinterpret(tir.broadcast(word, lanes), dtype=f"int8x{count}")
    if machine.path == "avx512vnni":
        return intrinsic("llvm.x86.avx512.vpdpbusd.512", "int32x16", total, weights, activations)
    if machine.path == "avxvnni":
        return intrinsic("llvm.x86.avx512.vpdpbusd.256", "int32x8", total, weights, activations)
    if machine.path == "avx2":
        return _dot_avx2(total, weights, activations, bits)
    # NEON's dot product takes signed bytes: flipping the top bit of w gives w - 128. 4-bit weights are positive.
    if bits == 8:
        weights = tir.bitwise_xor(weights, tir.broadcast(tir.uint8(128), count))
    signed = tir.reinterpret(weights, dtype=f"int8x{count}")
    return intrinsic("llvm.aarch64.neon.sdot", "int32x4", total, signed, activations)


def dot_start(machine: Machine, bits: int, offset: Expr | None) -> Expr:
    """The initial total of dot(), which turns weights w of 8 bits into w - 128 and of 4 bits into w - 8.

    offset: int32, -128 or -8 times the sum of the activations, since sum (w - 128) x = sum w x - 128 sum x. None leaves
    4-bit weights as they are. It is not added for 8 bits on NEON, where dot() converts the weights themselves.
    """
    start = tir.int32(0) if offset is None or (bits == 8 and machine.path == "neon") else offset
    return tir.broadcast(start, machine.lanes)


def _dot_avx2(total: Expr, weights: Expr, activations: Expr, bits: int) -> Expr:
    """AVX2 has no dot product of four bytes. vpmaddubsw sums pairs of uint8 x int8 products in int16, with saturation.

    Weights below 2**7 cannot saturate (2 * 127 * 127 < 2**15). The top bit of 8-bit weights is therefore multiplied
    separately: w = low + 128 * top.
    """
    if bits < 8:
        return total + _pairs_avx2(weights, activations, 1)
    low = tir.bitwise_and(weights, tir.broadcast(tir.uint8(127), 32))
    top = tir.bitwise_and(
        tir.shift_right(weights, tir.broadcast(tir.uint8(7), 32)), tir.broadcast(tir.uint8(1), 32)
    )
    return total + _pairs_avx2(low, activations, 1) + _pairs_avx2(top, activations, 128)


def _pairs_avx2(weights: Expr, activations: Expr, factor: int) -> Expr:
    """factor times the sums of four products, int32 x 8. vpmaddwd adds the two pairs, times the factor."""
    pairs = intrinsic("llvm.x86.avx2.pmadd.ub.sw", "int16x16", weights, activations)
    return intrinsic("llvm.x86.avx2.pmadd.wd", "int32x8", pairs, tir.broadcast(tir.int16(factor), 16))


def _dot_generic(lanes: int, total: Expr, weights: Expr, word: Expr) -> Expr:
    """The dot product by shifts, masks and multiplications of 32-bit lanes, for any processor."""
    words = tir.reinterpret(weights, dtype=f"int32x{lanes}")
    for byte in range(4):
        weight = tir.bitwise_and(
            tir.shift_right(words, tir.broadcast(tir.int32(8 * byte), lanes)),
            tir.broadcast(tir.int32(255), lanes),
        )
        # The byte is moved to the top and back, which extends its sign.
        activation = tir.shift_right(tir.shift_left(word, tir.int32(24 - 8 * byte)), tir.int32(24))
        total = total + weight * tir.broadcast(activation, lanes)
    return total
