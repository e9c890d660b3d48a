"""Arithmetic on the rows of a tile at once: reductions over lanes, powers of two, GELU."""

from __future__ import annotations

from collections.abc import Sequence

from tvm.tirx.script import builder as tir

from models.kernels.emit import LANES, Emitter, bind, f32, splat
from models.kernels.isa import Expr, intrinsic

ROUNDING = 12582912.0
"""1.5 * 2**23: adding it rounds a float32 to an integer (see models.kernels.emit.round_to_int)."""

_LOG2_E = 1.4426950408889634
# 2**r on |r| <= 1/2, lowest power first; the relative error is below 3e-6.
_POWERS = (
    0.9999992847442627,
    0.6931217908859253,
    0.2402474582195282,
    0.05591785907745361,
    0.009570090100169182,
)


def largest_magnitude(vectors: Sequence[Expr]) -> Expr:
    """max |v| over all lanes of vectors of 16.

    Magnitudes are compared as integers, whose order is the same, since LLVM reduces integers in a few instructions.
    """
    peak = bind(tir.abs(vectors[0]))
    for vector in vectors[1:]:
        peak = bind(tir.max(peak, tir.abs(vector)))
    bits = intrinsic("llvm.vector.reduce.umax", "int32", tir.reinterpret(peak, dtype=f"int32x{LANES}"))
    return bind(tir.reinterpret(bits, dtype="float32"))


def power_of_two(e: Emitter, x: Expr) -> Expr:
    """2**x of 16 float32 lanes for x of at most 127, relative error below 3e-6. x is clamped to -126."""
    x = bind(tir.max(x, splat(f32(-126.0))))
    # As an integer, so that TVM does not simplify (x + c) - c.
    shifted = bind(tir.reinterpret(x + splat(f32(ROUNDING)), dtype="int32x16"))
    rest = bind(x - (tir.reinterpret(shifted, dtype="float32x16") - splat(f32(ROUNDING))))
    power = splat(f32(_POWERS[-1]))
    for coefficient in _POWERS[-2::-1]:
        power = bind(e.fma(power, rest, splat(f32(coefficient))))
    # The low bits of `shifted` hold round(x). Shifted to the exponent's place, they are added to the power's exponent.
    exponent = tir.shift_left(shifted, splat(tir.int32(23)))
    return bind(tir.reinterpret(tir.reinterpret(power, dtype="int32x16") + exponent, dtype="float32x16"))


def gelu(e: Emitter, low: Expr, high: Expr) -> tuple[Expr, Expr]:
    """v / 2 (1 + tanh(sqrt(2 / pi) (v + 0.044715 v**3))) of two vectors, relative error below 1e-5.

    It is v / (1 + 2**x) with x = -2 log2(e) sqrt(2 / pi) (v + 0.044715 v**3). Both denominators are inverted by one
    division: 1 / a = b / (a b). x is limited to 60, where the result is -1e-17, so that a b is finite.
    """
    factor = -2 * _LOG2_E * 0.7978845608028654
    denominators = []
    for v in (low, high):
        inner = e.fma(bind(v * v), splat(f32(0.044715 * factor)), splat(f32(factor)))
        power = power_of_two(e, tir.min(v * inner, splat(f32(60.0))))
        denominators.append(bind(power + splat(f32(1.0))))
    first, second = denominators
    inverse = bind(splat(f32(1.0)) / (first * second))
    return bind(low * (inverse * second)), bind(high * (inverse * first))
