"""The instruction sets: how wide a register is, and the int8 dot product of each.

Every path computes the same integers, so only the number of lanes and the instructions differ. Knows nothing
of layouts or layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath

Expr = Any  # a tvm.tirx expression


@dataclass(frozen=True)
class Machine:
    """What the emitted code may rely on.

    lanes: 32-bit lanes of one register, and so output rows of one integer accumulator.
    tile_rows: activation rows that a prefill tile holds in registers at once.
    fused: has a fused multiply-add (otherwise multiply, then add: results differ in the last bits).
    attention_rows: queries of one head that prefill's attention holds in registers at once.
    attention_blocks: blocks of 16 positions that decode's attention scores at once.
    attention_vectors: vectors of a head's values that attention sums at once.
    half: converts between float16 and float32 in hardware.
    """

    path: KernelPath
    lanes: int
    tile_rows: int
    attention_rows: int
    attention_blocks: int
    attention_vectors: int
    fused: bool
    half: bool


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
    """total[i] + sum over j < 4 of weights[4 i + j] * word.byte[j], exactly.

    total: int32 x lanes. weights: uint8 x (4 lanes), each below 2**bits; 8-bit weights stand for w - 128:
    start from dot_start to have that counted. word: int32 holding four int8 activations in -127..127, the
    same for every lane.
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
    if bits == 8:
        weights = tir.bitwise_xor(weights, tir.broadcast(tir.uint8(128), count))
    signed = tir.reinterpret(weights, dtype=f"int8x{count}")
    return intrinsic("llvm.aarch64.neon.sdot", "int32x4", total, signed, activations)


def dot_start(machine: Machine, bits: int, offset: Expr) -> Expr:
    """What to start a sum of dots from. offset: int32, -128 times the sum of the activations.

    NEON's dot product is of signed bytes, so there the weights themselves are shifted by 128.
    """
    shifted = bits == 8 and machine.path != "neon"
    return tir.broadcast(offset if shifted else tir.int32(0), machine.lanes)


def _dot_avx2(total: Expr, weights: Expr, activations: Expr, bits: int) -> Expr:
    """Pairs of products are summed in int16: that cannot saturate below 2**7, so the top bit goes apart."""
    if bits < 8:
        return total + _pairs_avx2(weights, activations, 1)
    low = tir.bitwise_and(weights, tir.broadcast(tir.uint8(127), 32))
    top = tir.bitwise_and(
        tir.shift_right(weights, tir.broadcast(tir.uint8(7), 32)), tir.broadcast(tir.uint8(1), 32)
    )
    return total + _pairs_avx2(low, activations, 1) + _pairs_avx2(top, activations, 128)


def _pairs_avx2(weights: Expr, activations: Expr, factor: int) -> Expr:
    pairs = intrinsic("llvm.x86.avx2.pmadd.ub.sw", "int16x16", weights, activations)
    return intrinsic("llvm.x86.avx2.pmadd.wd", "int32x8", pairs, tir.broadcast(tir.int16(factor), 16))


def _dot_generic(lanes: int, total: Expr, weights: Expr, word: Expr) -> Expr:
    """Shifts, masks and multiplications of 32-bit lanes; needs nothing but the baseline."""
    words = tir.reinterpret(weights, dtype=f"int32x{lanes}")
    for byte in range(4):
        weight = tir.bitwise_and(
            tir.shift_right(words, tir.broadcast(tir.int32(8 * byte), lanes)),
            tir.broadcast(tir.int32(255), lanes),
        )
        activation = tir.shift_right(tir.shift_left(word, tir.int32(24 - 8 * byte)), tir.int32(24))
        total = total + weight * tir.broadcast(activation, lanes)
    return total
