"""Rotary embedding, the KV cache, and grouped-query attention over it.

The cache is float16. Keys are stored by blocks of 16 positions, [layer][kv head][position / 16][head_dim][16], so that
one vector holds one dimension of 16 keys; values are [layer][kv head][position][head_dim].

Attention works in chunks of 64 positions. With the scores s_j = q . k_j / sqrt(head_dim), chunk c stores

    peak  m_c = max_j s_j        mass  l_c = sum_j exp(s_j - m_c)        sum  o_c = sum_j exp(s_j - m_c) v_j

and the chunks are combined in order, with m = max_c m_c (the online softmax of arXiv 1805.02867):

    output = sum_c exp(m_c - m) o_c / sum_c exp(m_c - m) l_c

The chunks of one row may therefore be computed by different threads (decode) or by one (prefill) with the same bits.
Masked positions count exactly zero: their weight is 0 and the cache must hold finite numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.arguments import CHUNK
from models.kernels.emit import (
    LANES,
    Emitter,
    Register,
    bind,
    f32,
    i64,
    load,
    local,
    max_lanes,
    prefetch,
    registers,
    splat,
    store,
    sum_lanes,
)
from models.kernels.isa import Expr
from models.packing.llama_shape import LlamaShape

_BLOCKS = CHUNK // LANES  # blocks of 16 positions in a chunk
_MASKED = -1e30  # score of a masked position; finite, since inf - inf is not a number


@dataclass(frozen=True)
class ChunkStore:
    """The offsets at which the results of the chunks of one (row, head) are stored.

    chunks: offset in "chunk_peaks" and in "chunk_masses", one float32 for each chunk. sums: offset in "chunk_sums",
    float32 [chunk, head_dim].
    """

    chunks: Expr
    sums: Expr


class Attention:
    """Emits the attention of one model. a: the function's arguments by name."""

    def __init__(self, emitter: Emitter, shape: LlamaShape, a: dict[str, Any]) -> None:
        self.e = emitter
        self.shape = shape
        self.a = a
        self.dim = shape.head_dim
        self.vectors = shape.head_dim // LANES
        self.qkv_width = shape.attention_width + 2 * shape.kv_width

    def cache_base(self, layer: Expr, kv_head: Expr) -> Expr:
        """Offset of a head's keys in their cache, and of its values in theirs."""
        return (layer * self.shape.kv_heads + kv_head) * self.a["context"] * self.dim

    def chunk_stride(self) -> Expr:
        """Chunks of the whole context, rounded up to 16: the distance of two chunk stores."""
        return tir.truncdiv(self.a["context"] + (16 * CHUNK - 1), 16 * CHUNK) * 16

    def rotate(
        self, source: Expr, position: Expr, scale: float | None, put: Callable[[Expr, Expr, int], None]
    ) -> None:
        """Rotary embedding of one head at qkv[source:], half-split: dimensions d and d + head_dim / 2 form a pair.

        Calls put(first dimension, vector, lanes) for every vector of the result, multiplied by scale if given.
        """
        half = self.dim // 2
        lanes = LANES if half % LANES == 0 else 1
        table = bind(position * self.dim)
        qkv, rope = self.a["qkv"], self.a["rope"]
        with tir.serial(i64(half // lanes)) as step:
            first = bind(step * lanes)
            low, high = (bind(load(qkv, source + first + side, lanes)) for side in (0, half))
            cosine, sine = (bind(load(rope, table + first + side, lanes)) for side in (0, half))
            # low' = low cos - high sin, high' = high cos + low sin. Explicit multiply-adds: LLVM could otherwise fuse
            # one product in prefill and the other one in decode, with different bits.
            minus = splat(f32(0.0), lanes) - high
            turned = (self.e.fma(low, cosine, minus * sine), self.e.fma(high, cosine, low * sine))
            for side, vector in zip((0, half), turned, strict=True):
                scaled = vector if scale is None else vector * splat(f32(scale), lanes)
                put(first + side, scaled, lanes)

    def store_key_value(self, layer: Expr, kv_head: Expr, position: Expr, row: Expr, thread: Expr) -> None:
        """Store the key, rotated, and the value of the row at qkv[row:] in the cache, rounded to float16."""
        qkv = self.a["qkv"]
        base = bind(self.cache_base(layer, kv_head))
        halves = local("uint16", self.dim)  # the key as float16 bits
        rotated = bind(thread * self.dim)
        source = bind(row + self.shape.attention_width + kv_head * self.dim)

        def put(first: Expr, vector: Expr, lanes: int) -> None:
            store(self.a["rotated"], rotated + first, vector, lanes)

        self.rotate(source, position, None, put)
        for vector in range(self.vectors):
            store(halves, 16 * vector, self.e.to_half(load(self.a["rotated"], rotated + 16 * vector)))
        # Dimension d of the key is at [position / 16][d][position % 16]: the key is scattered at a stride of 16.
        key = bind(base + tir.truncdiv(position, 16) * (16 * self.dim) + tir.truncmod(position, 16))
        with tir.serial(i64(self.dim)) as d:
            store(self.a["keys"], key + d * 16, halves[d], 1)
        value = bind(base + position * self.dim)
        for vector in range(self.vectors):
            packed = self.e.to_half(load(qkv, source + self.shape.kv_width + 16 * vector))
            store(self.a["cached_values"], value + 16 * vector, packed)

    def chunk_scores(
        self,
        cache: Expr,
        chunk: Expr,
        queries: list[Expr],
        last: list[Expr],
        reach: Expr,
        scores: list[Expr],
        stores: list[ChunkStore],
        blocks_at_once: int,
        ahead: Expr | None = None,
    ) -> None:
        """Compute exp(s_j - m_c) of one chunk into "scores", and its peak and mass into the stores.

        cache: offset of the head's keys. queries: offsets in "queries" of rows, rotated and scaled. last: the last
        position that each query attends to. scores: offsets in "scores", CHUNK float32 each. reach: the largest of
        `last`; blocks of 16 positions behind it are left out. blocks_at_once: blocks of 16 positions whose scores are
        summed at once; len(queries) * blocks_at_once vectors are held in registers.
        ahead: offset of a chunk of values that is needed next, which is prefetched.
        """
        peaks = [Register() for _ in queries]
        for peak in peaks:
            peak.value = splat(f32(_MASKED))
        first = bind(chunk * CHUNK)
        positions = bind(tir.min(reach - first + 1, i64(CHUNK)))
        step = LANES * blocks_at_once
        with tir.serial(tir.truncdiv(positions + (step - 1), step)) as outer:
            sums = [registers(len(queries)) for _ in range(blocks_at_once)]
            keys = bind(cache + (first + outer * (16 * blocks_at_once)) * self.dim)
            with tir.serial(i64(self.dim // 4)) as four:  # unrolled by 4 dimensions
                if ahead is not None:
                    part = ahead + (outer * (self.dim // 4) + four) * (CHUNK * blocks_at_once)
                    self._fetch("cached_values", part, CHUNK * blocks_at_once)
                for d in range(4):
                    values = [splat(self.a["queries"][query + four * 4 + d]) for query in queries]
                    for block in range(blocks_at_once):
                        offset = keys + block * (16 * self.dim) + (four * 4 + d) * 16
                        key = bind(self.e.load_half(self.a["keys"], offset))  # one dimension of 16 positions
                        for register, value in zip(sums[block], values, strict=True):
                            register.value = self.e.fma(key, value, register.value)
            for block in range(blocks_at_once):
                inside = bind(outer * blocks_at_once + block)
                for number, register in enumerate(sums[block]):
                    visible = self._visible(first + inside * 16, last[number])
                    masked = bind(tir.Select(visible, register.value, splat(f32(_MASKED))))
                    store(self.a["scores"], scores[number] + inside * 16, masked)
                    peaks[number].value = tir.max(peaks[number].value, masked)
        blocks = bind(tir.truncdiv(positions + (LANES - 1), LANES))
        for number, peak in enumerate(peaks):
            largest = max_lanes(peak.value)
            (mass,) = registers(1)
            with tir.serial(blocks) as block:
                offset = bind(scores[number] + block * 16)
                power = self.e.exp(load(self.a["scores"], offset) - splat(largest))
                visible = self._visible(first + block * 16, last[number])
                # exp() clamps its argument at -87 and so never returns zero.
                weight = bind(tir.Select(visible, power, splat(f32(0.0))))
                store(self.a["scores"], offset, weight)
                mass.value = mass.value + weight
            store(self.a["chunk_peaks"], stores[number].chunks + chunk, largest, 1)
            store(self.a["chunk_masses"], stores[number].chunks + chunk, sum_lanes(mass.value), 1)

    @staticmethod
    def _visible(first: Expr, last: Expr) -> Expr:
        """Mask of the lanes i with first + i <= last."""
        return tir.ramp(tir.int32(0), tir.int32(1), 16) <= splat(tir.cast(last - first, "int32"))

    def _fetch(self, buffer: str, offset: Expr, count: int) -> None:
        """Prefetch `count` float16 numbers."""
        for line in range(0, count, 32):
            prefetch(self.a[buffer], offset + line)

    def chunk_values(
        self,
        cache: Expr,
        chunk: Expr,
        reach: Expr,
        scores: list[Expr],
        stores: list[ChunkStore],
        at_once: int,
        ahead: Expr | None = None,
    ) -> None:
        """Compute o_c of one chunk from the weights in "scores" into the stores, position by position.

        cache: offset of the head's values. reach: the last position that any row attends to. Those behind it have
        weight 0 and are left out. at_once: vectors of 16 dimensions that are summed in one pass; each pass
        reads the weights anew. ahead: offset of a chunk of keys that is needed next, which is prefetched.
        """
        base = bind(cache + chunk * (CHUNK * self.dim))
        positions = bind(tir.min(reach - chunk * CHUNK + 1, i64(CHUNK)))
        for start in range(0, self.vectors, at_once):
            vectors = range(start, min(start + at_once, self.vectors))
            sums = [registers(len(vectors)) for _ in scores]
            with tir.serial(positions) as position:
                if ahead is not None and start == 0:
                    self._fetch("keys", ahead + position * self.dim, self.dim)
                values = [
                    bind(self.e.load_half(self.a["cached_values"], base + position * self.dim + 16 * vector))
                    for vector in vectors
                ]
                for number, score in enumerate(scores):
                    weight = bind(splat(self.a["scores"][score + position]))
                    for register, value in zip(sums[number], values, strict=True):
                        register.value = self.e.fma(value, weight, register.value)
            for number, place in enumerate(stores):
                for register, vector in zip(sums[number], vectors, strict=True):
                    store(self.a["chunk_sums"], place.sums + chunk * self.dim + 16 * vector, register.value)

    def combine(self, place: ChunkStore, count: Expr, weights: Expr, dims: list[Expr]) -> list[Expr]:
        """Vectors of one head's output, combined from `count` chunks.

        dims: the first dimension of each vector of 16. weights: offset in "chunk_weights", where exp(m_c - m) is
        stored, one float32 for each chunk, with room for a multiple of 16.
        """
        peak = Register()  # m, first by lanes
        peak.value = splat(f32(_MASKED))
        sixteens = bind(tir.truncdiv(count + 15, 16))

        def inside(sixteen: Expr) -> Expr:
            return self._visible(sixteen * 16, count - 1)

        with tir.serial(sixteens) as sixteen:
            peaks = load(self.a["chunk_peaks"], place.chunks + sixteen * 16)
            peak.value = tir.max(peak.value, tir.Select(inside(sixteen), peaks, splat(f32(_MASKED))))
        largest = max_lanes(peak.value)
        (mass,) = registers(1)
        with tir.serial(sixteens) as sixteen:
            power = self.e.exp(load(self.a["chunk_peaks"], place.chunks + sixteen * 16) - splat(largest))
            weight = bind(tir.Select(inside(sixteen), power, splat(f32(0.0))))
            store(self.a["chunk_weights"], weights + sixteen * 16, weight)
            masses = load(self.a["chunk_masses"], place.chunks + sixteen * 16)
            masses = tir.Select(inside(sixteen), masses, splat(f32(0.0)))
            mass.value = self.e.fma(weight, masses, mass.value)
        inverse = bind(f32(1.0) / sum_lanes(mass.value))
        sums = registers(len(dims))
        with tir.serial(count) as chunk:
            weight = bind(splat(self.a["chunk_weights"][weights + chunk]))
            for register, dim in zip(sums, dims, strict=True):
                part = load(self.a["chunk_sums"], place.sums + chunk * self.dim + dim)
                register.value = self.e.fma(part, weight, register.value)
        return [bind(register.value * splat(inverse)) for register in sums]
