"""The instruction sets: how wide a register is, and the int8 dot product of each.

Every path computes the same integers, so only the number of lanes and the instructions differ. Knows nothing
of layouts or layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as T

from models.cpu import KernelPath

Expr = Any  # a tvm.tirx expression


@dataclass(frozen=True)
class Machine:
    """What the emitted code may rely on.

    lanes: 32-bit lanes of one register, and so output rows of one integer accumulator.
    tile_rows: activation rows that a prefill tile holds in registers at once.
    fused: has a fused multiply-add (otherwise multiply, then add: results differ in the last bits).
    half: converts between float16 and float32 in hardware.
    """

    path: KernelPath
    lanes: int
    tile_rows: int
    fused: bool
    half: bool


MACHINES: dict[KernelPath, Machine] = {
    "avx512vnni": Machine("avx512vnni", 16, 8, fused=True, half=True),
    "avxvnni": Machine("avxvnni", 8, 4, fused=True, half=True),
    "avx2": Machine("avx2", 8, 4, fused=True, half=True),
    "neon": Machine("neon", 4, 8, fused=True, half=True),
    "generic": Machine("generic", 4, 4, fused=False, half=False),
}


def intrinsic(name: str, dtype: str, *arguments: Expr) -> Expr:
    """A call of an LLVM intrinsic without side effects."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *arguments, dtype=dtype)


def dot(machine: Machine, total: Expr, weights: Expr, word: Expr, bits: int) -> Expr:
    """total[i] + sum over j < 4 of weights[4 i + j] * word.byte[j], exactly.

    total: int32 x lanes. weights: uint8 x (4 lanes), each below 2**bits. word: int32 holding four int8
    activations in -127..127, the same for every lane.
    """
    lanes, count = machine.lanes, 4 * machine.lanes
    if machine.path == "generic":
        return _dot_generic(lanes, total, weights, word)
    activations = T.reinterpret(T.broadcast(word, lanes), dtype=f"int8x{count}")
    if machine.path == "avx512vnni":
        return intrinsic("llvm.x86.avx512.vpdpbusd.512", "int32x16", total, weights, activations)
    if machine.path == "avxvnni":
        return intrinsic("llvm.x86.avx512.vpdpbusd.256", "int32x8", total, weights, activations)
    if machine.path == "avx2":
        return _dot_avx2(total, weights, activations, bits)
    signed = T.reinterpret(weights, dtype=f"int8x{count}")
    if bits == 8:
        return _dot_neon_wide(total, weights, activations)
    return intrinsic("llvm.aarch64.neon.sdot", "int32x4", total, signed, activations)


def _dot_avx2(total: Expr, weights: Expr, activations: Expr, bits: int) -> Expr:
    """Pairs of products are summed in int16: that cannot saturate below 2**7, so the top bit goes apart."""
    if bits < 8:
        return total + _pairs_avx2(weights, activations, 1)
    low = T.bitwise_and(weights, T.broadcast(T.uint8(127), 32))
    top = T.bitwise_and(T.shift_right(weights, T.broadcast(T.uint8(7), 32)), T.broadcast(T.uint8(1), 32))
    return total + _pairs_avx2(low, activations, 1) + _pairs_avx2(top, activations, 128)


def _pairs_avx2(weights: Expr, activations: Expr, factor: int) -> Expr:
    pairs = intrinsic("llvm.x86.avx2.pmadd.ub.sw", "int16x16", weights, activations)
    return intrinsic("llvm.x86.avx2.pmadd.wd", "int32x8", pairs, T.broadcast(T.int16(factor), 16))


def _dot_neon_wide(total: Expr, weights: Expr, activations: Expr) -> Expr:
    """sdot wants signed bytes: w = (w - 128) + 128, and 128 = 64 + 64."""
    signed = T.reinterpret(T.bitwise_xor(weights, T.broadcast(T.uint8(128), 16)), dtype="int8x16")
    offset = T.broadcast(T.int8(64), 16)
    for factor in (signed, offset, offset):
        total = intrinsic("llvm.aarch64.neon.sdot", "int32x4", total, factor, activations)
    return total


def _dot_generic(lanes: int, total: Expr, weights: Expr, word: Expr) -> Expr:
    """Shifts, masks and multiplications of 32-bit lanes; needs nothing but the baseline."""
    words = T.reinterpret(weights, dtype=f"int32x{lanes}")
    for byte in range(4):
        weight = T.bitwise_and(
            T.shift_right(words, T.broadcast(T.int32(8 * byte), lanes)), T.broadcast(T.int32(255), lanes)
        )
        activation = T.shift_right(T.shift_left(word, T.int32(24 - 8 * byte)), T.int32(24))
        total = total + weight * T.broadcast(activation, lanes)
    return total
