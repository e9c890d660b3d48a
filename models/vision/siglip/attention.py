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

Neither sum overflows int32. A score has one product for each dimension of a head, of which there are at most 128
(models.formats.siglip_weights.WIDEST_HEAD): 128 * 4095**2 < 2**31. Outputs are summed as integers over 64 keys
(KEYS_AT_ONCE): 64 * 8191 * 4095 < 2**31.
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
    prefetch,
    round_to_int,
    splat,
    store,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, Machine, intrinsic
from models.vision.siglip.arguments import MASKED, score_stride, value_stride, weight_stride
from models.vision.siglip.arithmetic import ROUNDING, largest_magnitude, power_of_two
from models.vision.siglip.shape import KEYS_AT_ONCE, TILE_ROWS, TILES_AT_ONCE, SiglipShape

CODE_LIMIT = 4095.0
WEIGHT_LIMIT = 8191.0
_LOG2_E = 1.4426950408889634
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
        peak = bind(tir.max(largest_magnitude(vectors), f32(1e-12)))
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
        """Attention of all heads for a block of tiles into values[values_at:].

        Some tiles take their turns with each piece of the keys and values, which is read from the second-level cache
        once for all of them.
        """
        with tir.serial(i64(self.shape.heads)) as head:
            peak = self._value_factors(thread, head)
            with tir.serial(tir.truncdiv(tiles + (TILES_AT_ONCE - 1), TILES_AT_ONCE)) as several:
                first = bind(several * TILES_AT_ONCE)
                count = bind(tir.min(tiles - first, i64(TILES_AT_ONCE)))
                row = bind((first_tile + first) * TILE_ROWS)
                self._scores(thread, head, row, count)
                self._weights(thread, head, row, count, peak)
                self._outputs(thread, head, count, bind(values_at + first * (TILE_ROWS * self.stride)))

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

    def _scores(self, thread: Expr, head: Expr, row: Expr, tiles: Expr) -> None:
        """Scores of the tiles' queries over scale(q), with their maxima by lanes. row: the first query."""
        machine, lanes, keys = self.machine, self.machine.lanes, self.shape.keys
        count = _AT_ONCE[machine.path][0]
        base = bind(head * (keys // 16) * (self.pairs * 16))
        slots = bind(thread * (TILES_AT_ONCE * TILE_ROWS))
        with tir.serial(tiles * TILE_ROWS) as number:
            store(self.a["peaks"], (slots + number) * 16, splat(f32(MASKED)))
        with tir.serial(i64(keys // (lanes * count))) as step, tir.serial(tiles) as tile:
            starts = [bind(step * (lanes * count) + number * lanes) for number in range(count)]
            places = [
                bind(base + tir.truncdiv(start, 16) * (self.pairs * 16) + tir.truncmod(start, 16))
                for start in starts
            ]
            first = bind(row + tile * TILE_ROWS)
            queries = [
                bind(((first + number) * self.shape.heads + head) * (self.dims // 2))
                for number in range(TILE_ROWS)
            ]
            integers = self._products(
                self.a["keys"],
                places,
                16,
                self.a["queries"],
                queries,
                (i64(0), self.pairs),
                bind(places[0] + (lanes * count + tile * 16) * self.pairs),
            )
            slot = bind(slots + tile * TILE_ROWS)
            for column, start in enumerate(starts):
                scale = bind(load(self.a["key_scales"], head * keys + start, lanes))
                mask = bind(load(self.a["key_masks"], start, lanes))
                for number, line in enumerate(integers):
                    score = bind(self.e.fma(tir.cast(line[column].value, f"float32x{lanes}"), scale, mask))
                    store(self.a["scores"], (slot + number) * score_stride(self.shape) + start, score, lanes)
                    peak = bind((slot + number) * 16)
                    store(self.a["peaks"], peak, tir.max(load(self.a["peaks"], peak, lanes), score), lanes)

    def _products(
        self,
        vectors: Any,
        places: list[Expr],
        step: int,
        words: Any,
        rows: list[Expr],
        span: tuple[Expr, int],
        ahead: Expr,
    ) -> list[list[Register]]:
        """Integer sums over some pairs: [row][vector].

        places: offsets of the vectors of pair 0, a step apart from those of pair 1. rows: offsets of each row's words.
        span: the first pair, and their number. ahead: offset of vectors to prefetch, one line for each pair.
        """
        first, pairs = span
        machine, lanes = self.machine, self.machine.lanes
        integers = [[Register("int32", lanes) for _ in places] for _ in rows]
        for line in integers:
            for register in line:
                register.clear()
        # Not unrolled: LLVM would split every second dot product into a multiplication and an addition.
        with tir.serial(i64(pairs)) as number:
            pair = bind(first + number)
            prefetch(vectors, ahead + number * 16)
            loaded = [bind(load(vectors, place + pair * step, lanes)) for place in places]
            for line, row in zip(integers, rows, strict=True):
                word = bind(splat(words[row + pair], lanes))
                for register, vector in zip(line, loaded, strict=True):
                    register.value = dot_pairs(machine, register.value, vector, word)
        return integers

    def _weights(self, thread: Expr, head: Expr, row: Expr, tiles: Expr, peak: Expr) -> None:
        """Codes of the weights from the scores, and the factor of each row's outputs."""
        keys = self.shape.keys
        with tir.serial(tiles * TILE_ROWS) as number:
            slot = bind(thread * (TILES_AT_ONCE * TILE_ROWS) + number)
            scale = bind(self.a["query_scales"][(row + number) * self.shape.heads + head])
            factor = bind(splat(scale))
            shift = bind(splat(f32(0.0) - max_lanes(load(self.a["peaks"], slot * 16)) * scale))
            mass = Register()
            mass.clear()
            with tir.serial(i64(keys // 16)) as block:
                score = load(self.a["scores"], slot * score_stride(self.shape) + block * 16)
                power = power_of_two(self.e, self.e.fma(score, factor, shift))
                mass.value = mass.value + power
                # Adding 1.5 * 2**23 rounds to an integer, which the low 16 bits then hold.
                rounded = self.e.fma(
                    power, load(self.a["value_factors"], thread * keys + block * 16), splat(f32(ROUNDING))
                )
                codes = tir.cast(tir.reinterpret(rounded, dtype="int32x16"), "int16x16")
                words = tir.reinterpret(codes, dtype="int32x8")
                store(self.a["weights"], slot * weight_stride(self.shape) + block * 8, words, 8)
            store(self.a["masses"], slot, peak / sum_lanes(mass.value), 1)

    def _outputs(self, thread: Expr, head: Expr, tiles: Expr, values_at: Expr) -> None:
        """Weighted sums of the values of the tiles' rows."""
        machine, lanes, keys = self.machine, self.machine.lanes, self.shape.keys
        total, at_once, pairs = self.dims // lanes, _AT_ONCE[machine.path][1], KEYS_AT_ONCE // 2
        base = bind(head * (keys // 2) * self.dims)
        slots = bind(thread * (TILES_AT_ONCE * TILE_ROWS))
        with tir.serial(tiles * (TILE_ROWS * self.shape.head_vectors)) as vector:
            store(self.a["attended"], slots * self.dims + vector * 16, splat(f32(0.0)))
        with tir.serial(i64(keys // KEYS_AT_ONCE)) as step, tir.serial(tiles) as tile:
            slot = bind(slots + tile * TILE_ROWS)
            weights = [bind((slot + number) * weight_stride(self.shape)) for number in range(TILE_ROWS)]
            for first in range(0, total, at_once):
                places = [base + vector * lanes for vector in range(first, min(first + at_once, total))]
                integers = self._products(
                    self.a["key_values"],
                    places,
                    self.dims,
                    self.a["weights"],
                    weights,
                    (step * pairs, pairs),
                    bind(base + ((step + 1) * self.dims + tile * 16) * pairs),
                )
                for number, line in enumerate(integers):
                    for vector, register in enumerate(line):
                        place = bind((slot + number) * self.dims + (first + vector) * lanes)
                        value = tir.cast(register.value, f"float32x{lanes}")
                        store(
                            self.a["attended"], place, load(self.a["attended"], place, lanes) + value, lanes
                        )
        with tir.serial(tiles * TILE_ROWS) as number:
            factor = bind(splat(self.a["masses"][slots + number]))
            for vector in range(self.shape.head_vectors):
                result = bind(load(self.a["attended"], (slots + number) * self.dims + 16 * vector) * factor)
                place = values_at + number * self.stride + head * self.shape.head + 16 * vector
                if self.shape.head - 16 * vector < 16:
                    store(self.a["values"], place, lower_half(result, 16), 8)
                else:
                    store(self.a["values"], place, result)
