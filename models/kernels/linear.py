"""Linear layers on quantised weights and activations, with LoRA: y = c (W x + B (A x)) / rms.

The factors c, one for each output, are those of a DoRA. A plain LoRA has none.

Activations are quantised in groups of 32 along the inputs: int8 codes c = round(x / s), one float32 scale s. With the
codes w, the scale t and the minimum m of the weights of an output row, a group contributes

    4 bits:             sum (t w + m) s c    = t s sum w c + m s sum c
    4 bits, symmetric:  sum t (w - 8) s c    = t s (sum w c - 8 sum c)
    8 bits:             sum t (w - 128) s c  = t s (sum w c - 128 sum c)

where sum w c is an exact integer sum. "sums" holds s sum c, "offsets" -128 sum c, and "offsets_of_4" -8 sum c.

The division by the root mean square of a norm is one factor for a whole row. It commutes with the linear layer and is
applied to the outputs, so that a group can be quantised before the squares of the other groups are known. The norm's
weights are applied before quantisation.

The producer of a group finishes it: it quantises the group, sums its squares, and multiplies it with LoRA's A. The
consumer sums over the groups. Each of these steps works in a fixed order, so that decode (one row, whose groups are
shared by all threads) and prefill (tiles of rows) give the same bits for every number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.emit import (
    Emitter,
    Register,
    bind,
    f32,
    i64,
    load,
    max_lanes,
    prefetch,
    registers,
    round_to_int,
    splat,
    store,
    sum_integers,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, dot, dot_start, intrinsic
from models.packing.lora_layout import A_TILE_BYTES, B_TILE_BYTES, SITES, LoraLayout
from models.packing.packed_model import CODE_BYTES, LlamaShape

GROUP = 32
_CODE_WORDS = GROUP // 4  # int32 words of a group's codes
# Distance in bytes at which decode prefetches weights. Decode reads each weight once, at the speed of memory, and the
# processor's own prefetching stops at every page. Distances from 4 to 32 KB make it a fifth faster.
_AHEAD = 8192


@dataclass(frozen=True)
class Activations:
    """The buffers of the quantised activations that the linear layers of one site read.

    A row belongs to a tile of rows; decode has one tile of one row. parts: the linear layers of the site.

    codes                     int32, four int8 codes in -127..127 each, [tile][group][row][8]
    scales, sums              float32 [tile][group][row]; sums = scale * sum of the codes
    offsets, offsets_of_4     int32 [tile][group][row], -128 and -8 * sum of the codes
    squares                   float32 [row][group], sums of squares; only where an RMS norm precedes
    inverse                   float32 [row], 1 / root mean square; likewise
    ranks                     float32 [group][parts * rank], A x of single groups; decode only
    totals                    float32 [row][parts * rank], A x; prefill only
    rank_codes                int32, four int8 codes each, [row, or thread in decode][parts * rank / 16][4]
    rank_scales, rank_offsets  float32 and int32 [row or thread][parts * rank / 16]; A x quantised by groups of 16

    normed: whether an RMS norm precedes.
    """

    site: str
    width: int
    normed: bool
    buffers: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.buffers[name]

    @property
    def groups(self) -> int:
        return self.width // GROUP

    @property
    def parts(self) -> int:
        return len(SITES[self.site])


@dataclass(frozen=True)
class Operands:
    """Quantised groups that a tile is multiplied with, one for each row.

    codes: the int32 buffer. words: the offset of each row's first word in it. offsets: int32, where the integer sums
    start; None for 0. scales: float32.
    """

    codes: Any
    words: list[Expr]
    offsets: list[Expr] | None
    scales: list[Expr]


@dataclass(frozen=True)
class Rows:
    """The rows that emitted code works on: tile number `tile` of `count` consecutive rows."""

    count: int
    tile: Expr

    def index(self, row: Any) -> Expr:
        """The number of the tile's row `row` among all rows."""
        return self.tile * self.count + row

    def cell(self, activations: Activations, group: Expr, row: Any) -> Expr:
        """Offset of (tile, group, row) in scales, sums and offsets."""
        return (self.tile * activations.groups + group) * self.count + row


ONE_ROW = Rows(1, i64(0))


class Linear:
    """Emits the linear layers of one model. a: the function's arguments by name."""

    def __init__(self, emitter: Emitter, shape: LlamaShape, a: dict[str, Any]) -> None:
        self.e = emitter
        self.shape = shape
        self.a = a
        self.lora = LoraLayout(shape)

    # -- producing activations ---------------------------------------------------------------------------

    def finish_group(
        self,
        activations: Activations,
        rows: Rows,
        group: Expr,
        source: Callable[[Expr], tuple[Expr, Expr]],
        norm: Expr | None,
        a_base: Expr | None,
        total: Callable[[int], Expr] | None,
    ) -> None:
        """Quantise 32 values of each row, with the sum of their squares and their part of A x.

        source(row): the two vectors of 16. norm: offset of the norm's weights, None without a norm. a_base: offset of
        the site's A in "lora", None where no LoRA reads the values. total(row): offset / 16 in "totals" where A x is
        added up; None stores it by group in "ranks".
        """
        with tir.serial(i64(rows.count)) as row:
            vectors = [bind(vector) for vector in source(row)]
            if norm is not None:
                squares = sum_lanes(self.e.fma(vectors[1], vectors[1], vectors[0] * vectors[0]))
                store(activations.squares, rows.index(row) * activations.groups + group, squares, 1)
                weights = [load(self.a["norms"], norm + group * GROUP + 16 * half) for half in range(2)]
                vectors = [bind(vectors[half] * weights[half]) for half in range(2)]
            self._quantise(activations, rows.cell(activations, group, row), vectors)
        if a_base is not None:
            with when(self.a["rank_tiles"] > 0):
                self._multiply_a(activations, rows, group, a_base, total)

    def _quantise(self, activations: Activations, cell: Expr, vectors: list[Expr]) -> None:
        """Quantise 32 float32 to int8 codes in -127..127 with scale = max |v| / 127.

        The maximum is at least 1e-12, so that zeros do not divide by zero.
        """
        low, high = vectors
        largest = bind(tir.max(max_lanes(tir.max(tir.abs(low), tir.abs(high))), f32(1e-12)))
        factor = bind(f32(127.0) / largest)
        codes = [bind(round_to_int(vector * splat(factor))) for vector in vectors]
        total = bind(sum_integers(codes[0] + codes[1]))
        scale = bind(largest * f32(1.0 / 127.0))
        cell = bind(cell)
        for half in range(2):
            words = tir.reinterpret(tir.cast(codes[half], "int8x16"), dtype="int32x4")
            store(activations.codes, cell * _CODE_WORDS + 4 * half, words, 4)
        store(activations.scales, cell, scale, 1)
        store(activations.sums, cell, scale * tir.cast(total, "float32"), 1)
        store(activations.offsets, cell, total * tir.int32(-128), 1)
        store(activations.offsets_of_4, cell, total * tir.int32(-8), 1)

    def _multiply_a(
        self,
        activations: Activations,
        rows: Rows,
        group: Expr,
        a_base: Expr,
        total: Callable[[int], Expr] | None,
    ) -> None:
        """A x of one group, 16 ranks at a time."""
        cells = [bind(rows.cell(activations, group, row)) for row in range(rows.count)]
        operands = Operands(
            codes=activations.codes,
            words=[cell * _CODE_WORDS for cell in cells],
            offsets=[activations.offsets[cell] for cell in cells],
            scales=[activations.scales[cell] for cell in cells],
        )
        chunks = bind(self.a["rank_tiles"] * activations.parts)
        with tir.serial(chunks) as chunk:
            tile = bind(a_base + (group * chunks + chunk) * A_TILE_BYTES)
            if rows.count == 1:  # decode reads the tiles of a thread's groups one after another
                self._fetch(self.a["lora"], tile + _AHEAD, A_TILE_BYTES)
            partials = self._lora_tile(tile, A_TILE_BYTES, operands, None)
            for row, partial in enumerate(partials):
                if total is None:
                    store(activations.ranks, (group * chunks + chunk) * 16, partial.value)
                else:
                    offset = bind((total(row) + chunk) * 16)
                    store(activations.totals, offset, load(activations.totals, offset) + partial.value)

    def _lora_tile(
        self, tile: Expr, size: int, operands: Operands, sums: list[Register] | None
    ) -> list[Register]:
        """Multiply an 8-bit LoRA tile, A's or B's, with each row. The products are added to `sums` if given.

        tile: its offset in "lora". size: its bytes, with 64 of float32 scales at the end.
        """
        lanes = self.e.machine.lanes
        results = sums or registers(len(operands.words))
        for part in range(16 // lanes):
            integers = self._integers(self.a["lora"], tile, part, 8, (size - 64) // 64, operands)
            raw = load(self.a["lora"], tile + (size - 64) + part * lanes * 4, lanes * 4)
            scale = bind(tir.reinterpret(raw, dtype=f"float32x{lanes}"))
            for result, integer, factor in zip(results, integers, operands.scales, strict=True):
                value = bind(tir.cast(integer.value, f"float32x{lanes}") * splat(factor, lanes))
                start = result.lanes_at(part * lanes, lanes)
                result.set_lanes_at(part * lanes, self.e.fma(scale, value, start), lanes)
        return results

    def clear_totals(self, activations: Activations, total: Expr) -> None:
        """Set a row's A x to zero. total: its offset / 16 in "totals"."""
        with tir.serial(self.a["rank_tiles"] * activations.parts) as chunk:
            store(activations.totals, (total + chunk) * 16, splat(f32(0.0)))

    def sum_ranks(self, activations: Activations, total: Expr) -> None:
        """Decode: sum A x over the groups in order, and quantise it for B. total: offset of the copy in rank_scales."""
        chunks = bind(self.a["rank_tiles"] * activations.parts)
        with tir.serial(chunks) as chunk:
            (summed,) = registers(1)
            with tir.serial(i64(activations.groups)) as group:
                summed.value = summed.value + load(activations.ranks, (group * chunks + chunk) * 16)
            self._quantise_ranks(activations, total + chunk, summed.value)

    def finish_totals(self, activations: Activations, total: Expr) -> None:
        """Prefill: quantise a row's A x for B. total: as in clear_totals, and its offset in rank_scales."""
        with tir.serial(self.a["rank_tiles"] * activations.parts) as chunk:
            self._quantise_ranks(activations, total + chunk, load(activations.totals, (total + chunk) * 16))

    def _quantise_ranks(self, activations: Activations, chunk: Expr, vector: Expr) -> None:
        """Quantise 16 float32 of A x to int8 codes in -127..127 with scale = max |v| / 127."""
        vector, chunk = bind(vector), bind(chunk)
        largest = bind(tir.max(max_lanes(tir.abs(vector)), f32(1e-30)))
        codes = bind(round_to_int(vector * splat(f32(127.0) / largest)))
        words = tir.reinterpret(tir.cast(codes, "int8x16"), dtype="int32x4")
        store(activations.rank_codes, chunk * 4, words, 4)
        store(activations.rank_scales, chunk, largest * f32(1.0 / 127.0), 1)
        store(activations.rank_offsets, chunk, sum_integers(codes) * tir.int32(-128), 1)

    def inverse_rms(self, activations: Activations, row: Expr) -> Expr:
        """1 / sqrt(mean of squares + epsilon) of a finished row. The groups are added in order."""
        total = Register("float32", 1)
        total.clear()
        with tir.serial(i64(activations.groups)) as group:
            total.value = total.value + activations.squares[row * activations.groups + group]
        mean = total.value * f32(1.0 / activations.width)
        return bind(f32(1.0) / tir.sqrt(mean + f32(self.shape.epsilon)))

    # -- consuming activations ---------------------------------------------------------------------------

    def block(
        self,
        role: str,
        layer: Expr,
        block: Expr,
        activations: Activations,
        rows: Rows,
        total: Callable[[int], Expr],
        inverse: Callable[[int], Expr] | None,
        adapted: tuple[Any, Expr] | None = None,
    ) -> list[Expr]:
        """Outputs 16 * block .. 16 * block + 15 of a role for each row: c (W x + B (A x)) * inverse(row), float32 x 16.

        total(row): offset in rank_scales of the row's quantised A x. inverse: None without a norm. adapted: buffer and
        offset where B (A x) of a single row is stored already; else it is computed here.
        """
        sums = self._product(role, layer, block, activations, rows)
        with when(self.a["rank_tiles"] > 0):
            if adapted is None:
                for register, term in zip(
                    sums, self.adapter_term(role, layer, block, activations, rows, total), strict=True
                ):
                    register.value = register.value + term.value
            else:
                sums[0].value = sums[0].value + load(*adapted)
        with when(self.a["factored"] > 0):
            factor = self._factors(role, layer, block)
            for register in sums:
                register.value = register.value * factor
        if inverse is None:
            return [bind(register.value) for register in sums]
        return [bind(register.value * splat(inverse(row))) for row, register in enumerate(sums)]

    def _product(
        self, role: str, layer: Expr, block: Expr, activations: Activations, rows: Rows
    ) -> list[Register]:
        """W x of one block of 16 outputs for each row. Where the layers differ in width, both codes are emitted."""
        shape, mask = self.shape, self.shape.wide(role)
        bits, groups = shape.bits(role), activations.groups
        tiles = shape.matrix(role)[0] // 16 * groups
        size = shape.tile_bytes[bits]
        if not mask:
            base = bind((layer * tiles + block * groups) * size)
            return self.tiles(self.a[role], base, bits, activations, rows)
        before = tir.bitwise_and(i64(mask), tir.shift_left(i64(1), layer) - i64(1))
        wider = intrinsic("llvm.ctpop", "int64", before) * (tiles * (shape.tile_bytes[8] - size))
        start = bind(layer * (tiles * size) + wider)
        results = registers(rows.count)
        with tir.If(tir.bitwise_and(tir.shift_right(i64(mask), layer), i64(1)) > 0):
            for branch, width in ((tir.Then, 8), (tir.Else, bits)):
                with branch():
                    base = bind(start + block * (groups * shape.tile_bytes[width]))
                    products = self.tiles(self.a[role], base, width, activations, rows)
                    for result, product in zip(results, products, strict=True):
                        result.value = product.value
        return results

    def adapter_term(
        self,
        role: str,
        layer: Expr,
        block: Expr,
        activations: Activations,
        rows: Rows,
        total: Callable[[int], Expr],
    ) -> list[Register]:
        """B (A x) of one block of 16 outputs for each row, float32 x 16. total: as for block()."""
        part = SITES[activations.site].index(role)
        rank_tiles = self.a["rank_tiles"]
        base = bind(
            (layer * self.lora.layer_size() + self.lora.b_offset(role) + block * B_TILE_BYTES) * rank_tiles
        )
        sums = registers(rows.count)
        with tir.serial(rank_tiles) as number:
            tile = bind(base + number * B_TILE_BYTES)
            if rows.count == 1:  # decode reads the tiles of a thread's blocks one after another
                self._fetch(self.a["lora"], tile + _AHEAD, B_TILE_BYTES)
            chunks = [bind(total(row) + part * rank_tiles + number) for row in range(rows.count)]
            operands = Operands(
                codes=activations.rank_codes,
                words=[chunk * 4 for chunk in chunks],
                offsets=[activations.rank_offsets[chunk] for chunk in chunks],
                scales=[activations.rank_scales[chunk] for chunk in chunks],
            )
            self._lora_tile(tile, B_TILE_BYTES, operands, sums)
        return sums

    def _factors(self, role: str, layer: Expr, block: Expr) -> Expr:
        """The factors of a DoRA for a block of 16 outputs."""
        tiles = self.a["rank_tiles"] * (self.shape.layers * self.lora.layer_size())
        number = layer * self.lora.layer_outputs() + self.lora.first_output(role) + block * 16
        return bind(tir.reinterpret(load(self.a["lora"], tiles + number * 4, 64), dtype="float32x16"))

    def tiles(
        self, weights: Any, base: Expr, bits: int, activations: Activations, rows: Rows
    ) -> list[Register]:
        """W x of one block of 16 outputs for each row, float32 x 16. base: offset of the block's first tile."""
        machine = self.e.machine
        results = registers(rows.count)
        size = self.shape.tile_bytes[bits]
        with_minimum = bits == 4 and not self.shape.symmetric
        offsets = activations.offsets if bits == 8 else activations.offsets_of_4
        parts = range(16 // machine.lanes)
        # Decode's single row needs few registers: all 16 outputs at once, so that each cache line of weights is read
        # once. Prefill computes `lanes` outputs of all rows of a tile at a time.
        for together in [list(parts)] if rows.count == 1 else [[part] for part in parts]:
            sums = {
                (part, row): Register("float32", machine.lanes)
                for part in together
                for row in range(rows.count)
            }
            for register in sums.values():
                register.clear()
            with tir.serial(i64(activations.groups)) as group:
                tile = bind(base + group * size)
                if rows.count == 1:
                    self._fetch(weights, tile + _AHEAD, size)
                cells = [bind(rows.cell(activations, group, row)) for row in range(rows.count)]
                operands = Operands(
                    codes=activations.codes,
                    words=[cell * _CODE_WORDS for cell in cells],
                    offsets=None if with_minimum else [offsets[cell] for cell in cells],
                    scales=[activations.scales[cell] for cell in cells],
                )
                for part in together:
                    integers = self._integers(weights, tile, part, bits, CODE_BYTES[bits] // 64, operands)
                    self._scale_tile(weights, tile, part, bits, activations, rows, group, integers, sums)
            for (part, row), register in sums.items():
                results[row].set_lanes_at(part * machine.lanes, register.value, machine.lanes)
        return results

    def _fetch(self, buffer: Any, offset: Expr, size: int) -> None:
        """Prefetch the cache lines of these bytes."""
        for line in range(0, size, 64):
            prefetch(buffer, offset + line)

    def _integers(
        self, weights: Any, tile: Expr, part: int, bits: int, chunks: int, operands: Operands
    ) -> list[Register]:
        """sum w c, with the offsets sum (w - 128) c or sum (w - 8) c, over a tile's inputs, int32, for each row.

        part: which `lanes` of the tile's 16 output rows. chunks: of 64 bytes of codes in the tile.
        """
        machine = self.e.machine
        size = 4 * machine.lanes
        integers = [Register("int32", machine.lanes) for _ in operands.words]
        for register, offset in zip(integers, operands.offsets or [None] * len(integers), strict=True):
            register.value = dot_start(machine, bits, offset)
        for chunk in range(chunks):
            raw = bind(load(weights, tile + chunk * 64 + part * size, size))
            halves = [raw]
            if bits == 4:
                # The low halves are the codes of 4 inputs, the high halves those of the next 4.
                low = tir.bitwise_and(raw, splat(tir.uint8(15), size))
                halves = [bind(low), bind(tir.shift_right(raw, splat(tir.uint8(4), size)))]
            for number, codes in enumerate(halves):
                for register, first in zip(integers, operands.words, strict=True):
                    word = operands.codes[first + chunk * len(halves) + number]
                    register.value = dot(machine, register.value, codes, word, bits)
        return integers

    def _scale_tile(
        self,
        weights: Any,
        tile: Expr,
        part: int,
        bits: int,
        activations: Activations,
        rows: Rows,
        group: Expr,
        integers: list[Register],
        sums: dict[tuple[int, int], Register],
    ) -> None:
        """sums[part, row] += t (s integer) + m (s sum c), with the weights' scales t and minimums m of this tile."""
        lanes = self.e.machine.lanes

        def halves(offset: int) -> Expr:
            raw = load(weights, tile + CODE_BYTES[bits] + offset + part * lanes * 2, 2 * lanes)
            return bind(self.e.from_half(tir.reinterpret(raw, dtype=f"uint16x{lanes}"), lanes))

        scale = halves(0)
        minimum = halves(32) if bits == 4 and not self.shape.symmetric else None
        for row, register in enumerate(integers):
            cell = rows.cell(activations, group, row)
            total = sums[part, row]
            value = tir.cast(register.value, f"float32x{lanes}") * splat(activations.scales[cell], lanes)
            start = total.value
            if minimum is not None:
                start = self.e.fma(minimum, splat(activations.sums[cell], lanes), start)
            total.value = self.e.fma(scale, bind(value), bind(start))
