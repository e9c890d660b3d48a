"""The products of an adapter: A x of the groups of a site, and B (A x) of blocks of outputs.

A x is rounded to int8 in groups of 16 ranks before it is multiplied with B. It is summed over the groups of a span in
order, then over the spans in order. In decode threads share the groups. A thread adds up the groups of a span that it
has from its beginning, and stores the others one by one; every thread sums what all have stored for itself. Prefill
adds the groups of a row up at once. The order is the same.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm.tirx.script import builder as tir

from models.kernels.emit import (
    Register,
    bind,
    f32,
    i64,
    load,
    max_lanes,
    registers,
    round_to_int,
    splat,
    store,
    sum_integers,
)
from models.kernels.isa import Expr
from models.kernels.linear.weight_tiles import AHEAD, CODE_WORDS, Activations, Operands, Rows, WeightTiles
from models.packing.lora_layout import SITES


class AdapterProducts(WeightTiles):
    """Base of Linear: what an adapter adds to the linear layers."""

    def multiply_a(
        self,
        activations: Activations,
        rows: Rows,
        group: Expr,
        a_base: Expr,
        add: Callable[[int, Expr, Expr], None],
    ) -> None:
        """A x of one group, 16 ranks at a time. add(row, number of the 16 ranks, A x) takes them."""
        cells = [bind(rows.cell(activations, group, row)) for row in range(rows.count)]
        operands = self._group_operands(activations, cells)
        size = self.lora.a_tile
        chunks = bind(self.a["rank_tiles"] * activations.parts)
        with tir.serial(chunks) as chunk:
            tile = bind(a_base + (group * chunks + chunk) * size)
            if rows.count == 1:  # decode reads the tiles of a thread's groups one after another
                self.fetch(self.a["lora"], tile + AHEAD, size)
            for row, partial in enumerate(self._lora_tile(tile, size, operands, None)):
                add(row, chunk, partial.value)

    def add_to_rank(
        self, activations: Activations, first: Expr, group: Expr, chunk: Expr, value: Expr
    ) -> None:
        """Decode: store 16 numbers of A x of a group, or add them to those of its span. first: group of the thread."""
        chunks, value = self.a["rank_tiles"] * activations.parts, bind(value)
        start = bind(group - tir.truncmod(group, i64(activations.span)))
        slot = bind(tir.Select(start >= first, start, group))
        place = bind((slot * chunks + chunk) * 16)
        with tir.If(slot < group):
            with tir.Then():
                store(activations.ranks, place, load(activations.ranks, place) + value)
            with tir.Else():
                store(activations.ranks, place, value)

    def add_to_total(self, activations: Activations, group: Expr, chunk: Expr, value: Expr) -> None:
        """Prefill: add 16 numbers of A x of a group to those of its span, or begin one. chunk: offset / 32."""
        whole, value = bind(chunk * 32), bind(value)
        span = bind(load(activations.totals, whole + 16))
        with tir.If(tir.truncmod(group, i64(activations.span)) > 0):
            with tir.Then():
                store(activations.totals, whole + 16, span + value)
            with tir.Else():
                store(activations.totals, whole, load(activations.totals, whole) + span)
                store(activations.totals, whole + 16, value)

    def _group_operands(self, activations: Activations, cells: list[Expr]) -> Operands:
        """What A is multiplied with. cells: of one group of each row."""
        return Operands(
            codes=activations.codes,
            words=[cell * CODE_WORDS for cell in cells],
            offsets=[activations.offsets[cell] for cell in cells],
            scales=[activations.scales[cell] for cell in cells],
        )

    def _rank_operands(self, activations: Activations, chunks: list[Expr]) -> Operands:
        """What B is multiplied with. chunks: offsets in rank_scales of 16 ranks of each row."""
        return Operands(
            codes=activations.rank_codes,
            words=[chunk * 4 for chunk in chunks],
            offsets=[activations.rank_offsets[chunk] for chunk in chunks],
            scales=[activations.rank_scales[chunk] for chunk in chunks],
        )

    def clear_totals(self, activations: Activations, total: Expr) -> None:
        """Set a row's A x to zero. total: its offset / 32 in "totals"."""
        with tir.serial(self.a["rank_tiles"] * activations.parts) as chunk:
            for half in range(2):
                store(activations.totals, (total + chunk) * 32 + 16 * half, splat(f32(0.0)))

    def finish_totals(self, activations: Activations, total: Expr) -> None:
        """Prefill: quantise a row's A x for B. total: as in clear_totals, and its offset in rank_scales."""
        with tir.serial(self.a["rank_tiles"] * activations.parts) as chunk:
            whole, span = (load(activations.totals, (total + chunk) * 32 + 16 * half) for half in range(2))
            self._quantise_ranks(activations, total + chunk, whole + span)

    def sum_ranks(self, activations: Activations, total: Expr, threads: Expr) -> None:
        """Decode: sum what threads stored of A x, and quantise it for B. total: offset of the copy in rank_scales."""
        chunks, length = bind(self.a["rank_tiles"] * activations.parts), i64(activations.span)
        groups = i64(activations.groups)
        with tir.serial(chunks) as chunk:
            whole, span = registers(2)
            with tir.serial(threads) as thread:
                first = bind(tir.truncdiv(thread * groups, threads))
                end = bind(tir.truncdiv((thread + 1) * groups, threads))
                begin = bind(tir.truncdiv(first + (length - 1), length))  # the first span that begins there
                with tir.serial(first, bind(tir.min(end, begin * length))) as group:
                    span.value = span.value + load(activations.ranks, (group * chunks + chunk) * 16)
                with tir.serial(begin, bind(tir.truncdiv(end + (length - 1), length))) as number:
                    whole.value = whole.value + span.value
                    span.value = load(activations.ranks, (number * length * chunks + chunk) * 16)
            self._quantise_ranks(activations, total + chunk, whole.value + span.value)

    def _quantise_ranks(self, activations: Activations, chunk: Expr, vector: Expr) -> None:
        """Quantise 16 float32 of A x to int8 codes in -127..127 with scale = max |v| / 127."""
        vector, chunk = bind(vector), bind(chunk)
        largest = bind(tir.max(max_lanes(tir.abs(vector)), f32(1e-30)))
        codes = bind(round_to_int(vector * splat(f32(127.0) / largest)))
        words = tir.reinterpret(tir.cast(codes, "int8x16"), dtype="int32x4")
        store(activations.rank_codes, chunk * 4, words, 4)
        store(activations.rank_scales, chunk, largest * f32(1.0 / 127.0), 1)
        store(activations.rank_offsets, chunk, sum_integers(codes) * tir.int32(-128), 1)

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
        size = self.lora.b_tile
        base = bind((layer * self.lora.layer_size() + self.lora.b_offset(role) + block * size) * rank_tiles)
        sums = registers(rows.count)
        with tir.serial(rank_tiles) as number:
            tile = bind(base + number * size)
            if rows.count == 1:  # decode reads the tiles of a thread's blocks one after another
                self.fetch(self.a["lora"], tile + AHEAD, size)
            chunks = [bind(total(row) + part * rank_tiles + number) for row in range(rows.count)]
            self._lora_tile(tile, size, self._rank_operands(activations, chunks), sums)
        return sums

    def _lora_tile(
        self, tile: Expr, size: int, operands: Operands, sums: list[Register] | None
    ) -> list[Register]:
        """Multiply an 8-bit LoRA tile, A's or B's, with each row. The products are added to `sums` if given.

        tile: its offset in "lora". size: its bytes, with 64 of float32 scales at the end.
        """
        lanes = self.e.machine.lanes
        results = sums or registers(len(operands.words))
        for part in range(16 // lanes):
            integers = self.integers(self.a["lora"], tile, part, 8, (size - 64) // 64, operands)
            raw = load(self.a["lora"], tile + (size - 64) + part * lanes * 4, lanes * 4)
            scale = bind(tir.reinterpret(raw, dtype=f"float32x{lanes}"))
            for result, integer, factor in zip(results, integers, operands.scales, strict=True):
                value = bind(tir.cast(integer.value, f"float32x{lanes}") * splat(factor, lanes))
                start = result.lanes_at(part * lanes, lanes)
                result.set_lanes_at(part * lanes, self.e.fma(scale, value, start), lanes)
        return results

    def factors(self, role: str, layer: Expr, block: Expr) -> Expr:
        """The factors of a DoRA for a block of 16 outputs."""
        tiles = self.a["rank_tiles"] * (self.shape.layers * self.lora.layer_size())
        number = layer * self.lora.layer_outputs() + self.lora.first_output(role) + block * 16
        return bind(tir.reinterpret(load(self.a["lora"], tiles + number * 4, 64), dtype="float32x16"))
