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

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.emit import (
    Register,
    bind,
    f32,
    i64,
    load,
    max_lanes,
    prefetch,
    registers,
    round_to_int,
    share,
    splat,
    store,
    sum_integers,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, intrinsic
from models.kernels.linear.adapter_products import AdapterProducts
from models.kernels.linear.weight_tiles import (
    AHEAD,
    CACHE_LINE,
    CODE_WORDS,
    GROUP,
    Activations,
    Operands,
    Rows,
)
from models.packing.tiles import CODE_BYTES


class Linear(AdapterProducts):
    """Emits the linear layers of one model. a: the function's arguments by name."""

    # -- producing activations ---------------------------------------------------------------------------

    def finish_group(
        self,
        activations: Activations,
        rows: Rows,
        group: Expr,
        source: Callable[[Expr], tuple[Expr, Expr]],
        norm: Expr | None,
        a_base: Expr | None,
        add: Callable[[int, Expr, Expr], None] | None,
    ) -> None:
        """Quantise 32 values of each row, with the sum of their squares and their part of A x.

        source(row): the two vectors of 16. norm: offset of the norm's weights, None without a norm. a_base: offset of
        the site's A in "lora", None where no LoRA reads the values yet. add: of multiply_a; None without a_base.
        """
        with tir.serial(i64(rows.count)) as row:
            vectors = [bind(vector) for vector in source(row)]
            if norm is not None:
                squares = sum_lanes(self.e.fma(vectors[1], vectors[1], vectors[0] * vectors[0]))
                store(activations.squares, rows.index(row) * activations.groups + group, squares, 1)
                weights = [load(self.a["norms"], norm + group * GROUP + 16 * half) for half in range(2)]
                vectors = [bind(vectors[half] * weights[half]) for half in range(2)]
            lost = self._quantise(activations, rows.cell(activations, group, row), vectors)
            if activations.planes == 2:
                self._quantise(activations, rows.cell(activations, activations.groups + group, row), lost)
        if a_base is not None and add is not None:
            with when(self.a["rank_tiles"] > 0):
                self.multiply_a(activations, rows, group, a_base, add)

    def _quantise(self, activations: Activations, cell: Expr, vectors: list[Expr]) -> list[Expr]:
        """Quantise 32 float32 to int8 codes in -127..127 with scale = max |v| / 127. Returns what they lack.

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
            store(activations.codes, cell * CODE_WORDS + 4 * half, words, 4)
        store(activations.scales, cell, scale, 1)
        store(activations.sums, cell, scale * tir.cast(total, "float32"), 1)
        store(activations.offsets, cell, total * tir.int32(-128), 1)
        store(activations.offsets_of_4, cell, total * tir.int32(-8), 1)
        if activations.planes == 1:
            return []
        # Explicit multiply-adds, so that prefill and decode round alike.
        back = splat(f32(0.0) - scale)
        return [
            bind(self.e.fma(tir.cast(code, "float32x16"), back, vector))
            for code, vector in zip(codes, vectors, strict=True)
        ]

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
            factor = self.factors(role, layer, block)
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
        planes = bind(tir.Select(layer < 1, i64(2), i64(1))) if activations.planes == 2 else None
        if not mask:
            base = bind((layer * tiles + block * groups) * size)
            return self.tiles(self.a[role], base, bits, activations, rows, planes)
        before = tir.bitwise_and(i64(mask), tir.shift_left(i64(1), layer) - i64(1))
        wider = intrinsic("llvm.ctpop", "int64", before) * (tiles * (shape.tile_bytes[8] - size))
        start = bind(layer * (tiles * size) + wider)
        results = registers(rows.count)
        with tir.If(tir.bitwise_and(tir.shift_right(i64(mask), layer), i64(1)) > 0):
            for branch, width in ((tir.Then, 8), (tir.Else, bits)):
                with branch():
                    base = bind(start + block * (groups * shape.tile_bytes[width]))
                    products = self.tiles(self.a[role], base, width, activations, rows, planes)
                    for result, product in zip(results, products, strict=True):
                        result.value = product.value
        return results

    def tiles(
        self,
        weights: Any,
        base: Expr,
        bits: int,
        activations: Activations,
        rows: Rows,
        planes: Expr | None = None,
    ) -> list[Register]:
        """W x of one block of 16 outputs for each row, float32 x 16. base: offset of the block's first tile.

        planes: of the activations that are multiplied; None for the first one.
        """
        machine = self.e.machine
        results = registers(rows.count)
        size = self.shape.tile_bytes[bits]
        with_minimum = bits == 4 and not self.shape.symmetric
        offsets = activations.offsets if bits == 8 else activations.offsets_of_4
        parts = range(16 // machine.lanes)
        if rows.count > 1:
            self._fetch_next_block(weights, base + activations.groups * size, activations.groups * size, rows)
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
            with self._plane(planes) as plane, tir.serial(i64(activations.groups)) as group:
                tile = bind(base + group * size)
                if rows.count == 1:
                    self.fetch(weights, tile + AHEAD, size)
                place = group if plane is None else bind(plane * activations.groups + group)
                cells = [bind(rows.cell(activations, place, row)) for row in range(rows.count)]
                operands = Operands(
                    codes=activations.codes,
                    words=[cell * CODE_WORDS for cell in cells],
                    offsets=None if with_minimum else [offsets[cell] for cell in cells],
                    scales=[activations.scales[cell] for cell in cells],
                )
                for part in together:
                    integers = self.integers(weights, tile, part, bits, CODE_BYTES[bits] // 64, operands)
                    self._scale_tile(weights, tile, part, bits, activations, rows, place, integers, sums)
            for (part, row), register in sums.items():
                results[row].set_lanes_at(part * machine.lanes, register.value, machine.lanes)
        return results

    def _fetch_next_block(self, weights: Any, offset: Expr, size: int, rows: Rows) -> None:
        """Prefetch this tile of rows' share of the `size` bytes of the next block, which all of them use after this."""
        tiles = bind(tir.truncdiv(self.a["rows"] + (rows.count - 1), rows.count))
        with share(i64(size // CACHE_LINE), rows.tile, tiles) as line:
            prefetch(weights, offset + line * CACHE_LINE)

    @contextmanager
    def _plane(self, planes: Expr | None) -> Iterator[Expr | None]:
        """The loop over planes, or None without a loop."""
        if planes is None:
            yield None
        else:
            with tir.serial(planes) as plane:
                yield plane

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
