"""Full attention of the tower, on queries, keys, values and weights of 13 bits, with exact integer sums.

Queries q, keys k and values v of a head are rounded to codes of at most 4095 in magnitude with one float32 scale for
each row. With 16-bit dot products a score is exact up to that rounding: s_j = scale(q) scale(k_j) sum q k_j. The
weights p_j = exp(s_j - max s) are stored as round(8191 p_j scale(v_j) / max scale(v)), so that

    output = sum_j p_j v_j / sum_j p_j = max scale(v) / 8191 / sum p_j * (sum of codes of p_j * codes of v_j)

A weight's rounding error is at most 1/16382 of the largest weight: 32 times less than that of bfloat16's 8 bits.

    queries      int32, two int16 codes each, [row][head][16 vectors / 2]
    keys         int32 likewise, [head][key / 16][pair of dimensions][16]
    key_values   int32, the codes of two consecutive keys, [head][key / 2][dimension]
    *_scales     float32 [row][head] for queries, [head][key] for the others
    key_masks    float32 [key]: 0, and -1e30 for keys beyond the last row

The largest sums are 80 * 4095**2 < 2**31 and 64 * 8191 * 4095 < 2**31.
"""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.emit import (
    Emitter,
    Register,
    bind,
    f32,
    i64,
    load,
    local,
    lower_half,
    max_lanes,
    round_to_int,
    splat,
    store,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, Machine, intrinsic
from models.vision.siglip.arguments import MASKED, value_stride
from models.vision.siglip.shape import KEYS_AT_ONCE, TILE_ROWS, SiglipShape

CODE_LIMIT = 4095.0
WEIGHT_LIMIT = 8191.0
_LOG2_E = 1.4426950408889634
_ROUNDING = 12582912.0  # 1.5 * 2**23, see models.kernels.emit
# 2**r on |r| <= 1/2, lowest power first; the relative error is below 3e-6, an eighth of the rounding of a weight.
_POWERS = (
    0.9999992847442627,
    0.6931217908859253,
    0.2402474582195282,
    0.05591785907745361,
    0.009570090100169182,
)
# path -> (vectors of keys, vectors of dimensions) that a tile of queries computes at once
_AT_ONCE = {"avx512vnni": (4, 4), "avxvnni": (2, 2), "avx2": (2, 2), "neon": (2, 2), "generic": (1, 1)}


def dot_pairs(machine: Machine, total: Expr, left: Expr, right: Expr) -> Expr:
    """total[i] + left.low[i] * right.low[i] + left.high[i] * right.high[i] of int32 lanes that hold two int16 each."""
    lanes = machine.lanes
    if machine.path == "avx512vnni":
        return intrinsic(
            "llvm.x86.avx512.vpdpwssd.512", "int32x16", total, _halves(left, 32), _halves(right, 32)
        )
    if machine.path == "avxvnni":
        return intrinsic(
            "llvm.x86.avx512.vpdpwssd.256", "int32x8", total, _halves(left, 16), _halves(right, 16)
        )
    if machine.path == "avx2":
        return total + intrinsic("llvm.x86.avx2.pmadd.wd", "int32x8", _halves(left, 16), _halves(right, 16))
    sixteen = tir.broadcast(tir.int32(16), lanes)

    def low(words: Expr) -> Expr:
        return tir.shift_right(tir.shift_left(words, sixteen), sixteen)

    def high(words: Expr) -> Expr:
        return tir.shift_right(words, sixteen)

    return total + low(left) * low(right) + high(left) * high(right)


def _halves(words: Expr, lanes: int) -> Expr:
    return tir.reinterpret(words, dtype=f"int16x{lanes}")


class FullAttention:
    """Emits attention. a: the function's arguments by name."""

    def __init__(self, emitter: Emitter, shape: SiglipShape, a: dict[str, Any]) -> None:
        self.e = emitter
        self.machine = emitter.machine
        self.shape = shape
        self.a = a
        self.pairs = shape.head // 2
        self.dims = 16 * shape.head_vectors
        self.stride = value_stride(shape)

    # -- rounding queries, keys and values ---------------------------------------------------------------

    def _codes(self, at: Expr, zero: Expr | None = None) -> tuple[list[Expr], Expr]:
        """The codes of one head at values[at:], int32 x 16 each, and their scale. zero: scale becomes 0 if false."""
        vectors = []
        for number in range(self.shape.head_vectors):
            vector = load(self.a["values"], at + 16 * number)
            if (left := self.shape.head - 16 * number) < 16:
                inside = tir.ramp(tir.int32(0), tir.int32(1), 16) < splat(tir.int32(left))
                vector = tir.Select(inside, vector, splat(f32(0.0)))
            vectors.append(bind(vector))
        largest = tir.abs(vectors[0])
        for vector in vectors[1:]:
            largest = tir.max(largest, tir.abs(vector))
        peak = bind(tir.max(max_lanes(largest), f32(1e-12)))
        factor = bind(splat(f32(CODE_LIMIT) / peak))
        scale = bind(peak * f32(1.0 / CODE_LIMIT))
        if zero is not None:
            scale = bind(tir.Select(zero, scale, f32(0.0)))
        return [bind(round_to_int(vector * factor)) for vector in vectors], scale

    def store_queries(self, row: Expr, at: Expr) -> None:
        """Round a row's queries at values[at:], times log2(e) / sqrt(head)."""
        with tir.serial(i64(self.shape.heads)) as head:
            codes, scale = self._codes(at + head * self.shape.head)
            place = bind(row * self.shape.heads + head)
            for number, vector in enumerate(codes):
                words = tir.reinterpret(tir.cast(vector, "int16x16"), dtype="int32x8")
                store(self.a["queries"], place * (self.dims // 2) + 8 * number, words, 8)
            store(self.a["query_scales"], place, scale * f32(_LOG2_E / self.shape.head**0.5), 1)

    def store_keys(self, row: Expr, at: Expr) -> None:
        """Round a row's keys at values[at:]. Rows beyond the last patch are left out."""
        words = local("int32", self.dims // 2)
        with when(row < self.shape.patches), tir.serial(i64(self.shape.heads)) as head:
            codes, scale = self._codes(at + head * self.shape.head)
            for number, vector in enumerate(codes):
                store(words, 8 * number, tir.reinterpret(tir.cast(vector, "int16x16"), dtype="int32x8"), 8)
            block = bind(
                (head * (self.shape.keys // 16) + tir.truncdiv(row, 16)) * (self.pairs * 16)
                + tir.truncmod(row, 16)
            )
            for pair in range(self.pairs):
                store(self.a["keys"], block + pair * 16, words[pair], 1)
            store(self.a["key_scales"], head * self.shape.keys + row, scale, 1)

    def store_values(self, row: Expr, at: Expr) -> None:
        """Round the values of two rows, row and row + 1, at values[at:] and one stride further."""
        with when(row < self.shape.patches), tir.serial(i64(self.shape.heads)) as head:
            start = bind(at + head * self.shape.head)
            low, low_scale = self._codes(start)
            high, high_scale = self._codes(start + self.stride, row + 1 < self.shape.patches)
            place = bind((head * (self.shape.keys // 2) + tir.truncdiv(row, 2)) * self.dims)
            for number in range(self.shape.head_vectors):
                both = tir.bitwise_or(
                    tir.bitwise_and(low[number], splat(tir.int32(0xFFFF))),
                    tir.shift_left(high[number], splat(tir.int32(16))),
                )
                store(self.a["key_values"], place + 16 * number, both)
            scales = bind(head * self.shape.keys + row)
            store(self.a["value_scales"], scales, low_scale, 1)
            store(self.a["value_scales"], scales + 1, high_scale, 1)

    # -- attention -----------------------------------------------------------------------------------------

    def attend(self, thread: Expr, first_tile: Expr, tiles: Expr, values_at: Expr) -> None:
        """Attention of all heads for a block of tiles into values[values_at:]."""
        with tir.serial(i64(self.shape.heads)) as head:
            peak = self._value_factors(thread, head)
            with tir.serial(tiles) as tile:
                row = bind((first_tile + tile) * TILE_ROWS)
                self._scores(thread, head, row)
                self._weights(thread, head, row, peak)
                self._outputs(thread, head, values_at + tile * (TILE_ROWS * self.stride))

    def _value_factors(self, thread: Expr, head: Expr) -> Expr:
        """Store 8191 scale(v_j) / max scale(v) of a head; returns max scale(v) / 8191."""
        keys = self.shape.keys
        peak = Register()
        peak.clear()
        with tir.serial(i64(keys // 16)) as block:
            peak.value = tir.max(peak.value, load(self.a["value_scales"], head * keys + block * 16))
        largest = bind(tir.max(max_lanes(peak.value), f32(1e-30)))
        factor = bind(splat(f32(WEIGHT_LIMIT) / largest))
        with tir.serial(i64(keys // 16)) as block:
            scaled = load(self.a["value_scales"], head * keys + block * 16) * factor
            store(
                self.a["value_factors"], thread * keys + block * 16, tir.min(scaled, splat(f32(WEIGHT_LIMIT)))
            )
        return bind(largest * f32(1.0 / WEIGHT_LIMIT))

    def _scores(self, thread: Expr, head: Expr, row: Expr) -> None:
        """Scores of a tile's queries over scale(q), with their maxima by lanes."""
        machine, lanes, keys = self.machine, self.machine.lanes, self.shape.keys
        count = _AT_ONCE[machine.path][0]
        peaks = [Register("float32", lanes) for _ in range(TILE_ROWS)]
        for peak in peaks:
            peak.value = splat(f32(MASKED), lanes)
        base = bind(head * (keys // 16) * (self.pairs * 16))
        queries = [
            bind(((row + number) * self.shape.heads + head) * (self.dims // 2)) for number in range(TILE_ROWS)
        ]
        out = bind(thread * (TILE_ROWS * keys))
        with tir.serial(i64(keys // (lanes * count))) as step:
            starts = [bind(step * (lanes * count) + number * lanes) for number in range(count)]
            places = [
                bind(base + tir.truncdiv(start, 16) * (self.pairs * 16) + tir.truncmod(start, 16))
                for start in starts
            ]
            integers = [[Register("int32", lanes) for _ in range(count)] for _ in range(TILE_ROWS)]
            for registers in integers:
                for register in registers:
                    register.clear()
            unroll = 2 if self.pairs % 2 == 0 else 1
            with tir.serial(i64(self.pairs // unroll)) as several:
                for pair in [bind(several * unroll + number) for number in range(unroll)]:
                    vectors = [bind(load(self.a["keys"], place + pair * 16, lanes)) for place in places]
                    for registers, query in zip(integers, queries, strict=True):
                        word = bind(splat(self.a["queries"][query + pair], lanes))
                        for register, vector in zip(registers, vectors, strict=True):
                            register.value = dot_pairs(machine, register.value, vector, word)
            for column, start in enumerate(starts):
                scale = bind(load(self.a["key_scales"], head * keys + start, lanes))
                mask = bind(load(self.a["key_masks"], start, lanes))
                for number, registers in enumerate(integers):
                    score = bind(
                        self.e.fma(tir.cast(registers[column].value, f"float32x{lanes}"), scale, mask)
                    )
                    store(self.a["scores"], out + number * keys + start, score, lanes)
                    peaks[number].value = tir.max(peaks[number].value, score)
        for number, peak in enumerate(peaks):
            store(self.a["peaks"], (thread * TILE_ROWS + number) * 16, max_lanes(peak.value, lanes), 1)

    def _weights(self, thread: Expr, head: Expr, row: Expr, peak: Expr) -> None:
        """Codes of the weights from the scores, and the factor of each row's outputs."""
        keys = self.shape.keys
        with tir.serial(i64(TILE_ROWS)) as number:
            slot = bind(thread * TILE_ROWS + number)
            scale = bind(self.a["query_scales"][(row + number) * self.shape.heads + head])
            factor = bind(splat(scale))
            shift = bind(splat(f32(0.0) - self.a["peaks"][slot * 16] * scale))
            mass = Register()
            mass.clear()
            with tir.serial(i64(keys // 16)) as block:
                score = load(self.a["scores"], slot * keys + block * 16)
                power = bind(self._power_of_two(self.e.fma(score, factor, shift)))
                mass.value = mass.value + power
                # Adding 1.5 * 2**23 rounds to an integer, which the low 16 bits then hold.
                rounded = self.e.fma(
                    power, load(self.a["value_factors"], thread * keys + block * 16), splat(f32(_ROUNDING))
                )
                codes = tir.cast(tir.reinterpret(rounded, dtype="int32x16"), "int16x16")
                words = tir.reinterpret(codes, dtype="int32x8")
                store(self.a["weights"], slot * (keys // 2) + block * 8, words, 8)
            store(self.a["masses"], slot, peak / sum_lanes(mass.value), 1)

    def _power_of_two(self, x: Expr) -> Expr:
        """2**x of 16 float32 lanes for x of at most 0, relative error below 3e-6; x is clamped to -126."""
        x = bind(tir.max(x, splat(f32(-126.0))))
        # As an integer, so that TVM does not simplify (x + c) - c.
        shifted = bind(tir.reinterpret(x + splat(f32(_ROUNDING)), dtype="int32x16"))
        rest = bind(x - (tir.reinterpret(shifted, dtype="float32x16") - splat(f32(_ROUNDING))))
        power = splat(f32(_POWERS[-1]))
        for coefficient in _POWERS[-2::-1]:
            power = bind(self.e.fma(power, rest, splat(f32(coefficient))))
        # The low bits of `shifted` hold round(x); the rest is shifted out. Added to the exponent of the power.
        exponent = tir.shift_left(shifted, splat(tir.int32(23)))
        return tir.reinterpret(tir.reinterpret(power, dtype="int32x16") + exponent, dtype="float32x16")

    def _outputs(self, thread: Expr, head: Expr, values_at: Expr) -> None:
        """Weighted sums of the values of a tile's rows."""
        machine, lanes, keys = self.machine, self.machine.lanes, self.shape.keys
        total = self.dims // lanes
        at_once = _AT_ONCE[machine.path][1]
        base = bind(head * (keys // 2) * self.dims)
        weights = [bind((thread * TILE_ROWS + number) * (keys // 2)) for number in range(TILE_ROWS)]
        sums = bind(thread * (TILE_ROWS * self.dims))
        with tir.serial(i64(keys // KEYS_AT_ONCE)) as step:
            for first in range(0, total, at_once):
                count = min(at_once, total - first)
                integers = [[Register("int32", lanes) for _ in range(count)] for _ in range(TILE_ROWS)]
                for registers in integers:
                    for register in registers:
                        register.clear()
                with tir.serial(i64(KEYS_AT_ONCE // 4)) as two:
                    for pair in [bind(step * (KEYS_AT_ONCE // 2) + two * 2 + number) for number in range(2)]:
                        vectors = [
                            bind(
                                load(
                                    self.a["key_values"],
                                    base + pair * self.dims + (first + vector) * lanes,
                                    lanes,
                                )
                            )
                            for vector in range(count)
                        ]
                        for registers, weight in zip(integers, weights, strict=True):
                            word = bind(splat(self.a["weights"][weight + pair], lanes))
                            for register, vector in zip(registers, vectors, strict=True):
                                register.value = dot_pairs(machine, register.value, vector, word)
                for number, registers in enumerate(integers):
                    for vector, register in enumerate(registers):
                        place = bind(sums + number * self.dims + (first + vector) * lanes)
                        value = tir.cast(register.value, f"float32x{lanes}")
                        before = tir.Select(
                            tir.broadcast(step > 0, lanes),
                            load(self.a["attended"], place, lanes),
                            splat(f32(0.0), lanes),
                        )
                        store(self.a["attended"], place, before + value, lanes)
        with tir.serial(i64(TILE_ROWS)) as number:
            factor = bind(splat(self.a["masses"][thread * TILE_ROWS + number]))
            for vector in range(self.shape.head_vectors):
                result = bind(load(self.a["attended"], sums + number * self.dims + 16 * vector) * factor)
                place = values_at + number * self.stride + head * self.shape.head + 16 * vector
                if self.shape.head - 16 * vector < 16:
                    store(self.a["values"], place, lower_half(result, 16), 8)
                else:
                    store(self.a["values"], place, result)
