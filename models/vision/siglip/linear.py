"""Linear layers of the tower: y = factor * (W x + B (A x)) + bias on weights and activations of 8 bits.

Activations are quantised in groups of 32 inputs: int8 codes c in -127..127 with a float32 scale s. With the codes w
and the scale t of an output's weights, a group contributes t s sum (w - 128) c, where the sum is an exact integer.

A thread takes a panel of 32 outputs after the other, and multiplies it with all tiles of rows of its block. A tile of
6 rows times as many outputs as fit into registers is computed at once. Long rows are cut into pieces whose part of
a panel stays in the first-level cache.
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
    round_to_int,
    splat,
    store,
    sum_integers,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, Machine, dot, dot_start
from models.vision.siglip.shape import BLOCK_BYTES, GROUP, TILE_ROWS, panel_bytes

PIECE_GROUPS = 24
"""Groups of inputs whose part of a panel (27 KB) stays in the first-level cache, with the rows that it multiplies."""

_WORDS = GROUP // 4  # int32 words of a group's codes

# path -> vectors of outputs that a tile of rows computes at once
_VECTORS = {"avx512vnni": 2, "avxvnni": 1, "avx2": 1, "neon": 2, "generic": 1}


@dataclass(frozen=True)
class Cells:
    """A buffer of quantised activations. A cell is a group of 32 inputs of one row.

    codes: int32 [tile][group][row of the tile][8], four int8 each. offsets: int32 [tile][group][row], -128 times the
    sum of the codes. scales: float32 likewise.
    first: cell at which the rows begin. groups: of a row, in this buffer. skip: group at which the inputs begin.
    """

    codes: Any
    offsets: Any
    scales: Any
    first: Expr
    groups: Expr
    skip: Expr

    def cell(self, tile: Expr, group: Expr) -> Expr:
        """The cell of a tile's first row."""
        return self.first + (tile * self.groups + self.skip + group) * TILE_ROWS

    def at_group(self, skip: Expr) -> Cells:
        """The same rows from another group on."""
        return Cells(self.codes, self.offsets, self.scales, self.first, self.groups, skip)


@dataclass(frozen=True)
class Product:
    """Weights and the activations that they are multiplied with.

    weights: the uint8 buffer. base: offset of the first panel. groups: of 32 inputs, an int where it is fixed.
    """

    weights: Any
    base: Expr
    groups: Any
    cells: Cells


Epilogue = Callable[[Expr, Expr, Expr, Expr, Expr], None]
"""epilogue(tile, row of the tile, panel, low, high): takes the two vectors of 16 outputs of a row."""


class PanelLinear:
    """Emits linear layers. sums: the thread's float32 scratch [BLOCK_TILES][TILE_ROWS][32] in a buffer."""

    def __init__(self, emitter: Emitter, sums: Any, sums_at: Expr) -> None:
        self.e = emitter
        self.machine: Machine = emitter.machine
        self.sums = sums
        self.sums_at = sums_at
        self.vectors = _VECTORS[self.machine.path]

    def multiply(
        self,
        product: Product,
        first: Expr,
        end: Expr,
        tiles: Expr,
        low_rank: Product | None,
        epilogue: Epilogue,
    ) -> None:
        """Multiply panels first .. end - 1 with all tiles. low_rank: LoRA's B and A x; its groups may be 0."""
        groups: int = product.groups
        pieces = -(-groups // PIECE_GROUPS)
        size = -(-groups // pieces)
        at_once = self.machine.lanes * self.vectors
        with tir.serial(first, end) as panel:
            base = bind(product.base + panel * (groups * BLOCK_BYTES))
            b_base = None if low_rank is None else bind(low_rank.base + panel * low_rank.groups * BLOCK_BYTES)
            with tir.serial(i64(pieces)) as piece:
                begin = bind(piece * size)
                stop = bind(tir.min(begin + size, i64(groups)))
                with tir.serial(tiles) as tile:
                    # One tile's sums are used again for the next one, unless further pieces are added to them.
                    at = bind(self.sums_at + (tile if pieces > 1 else i64(0)) * (TILE_ROWS * 32))
                    with tir.serial(i64(32 // at_once)) as part:
                        self._part(product, base, begin, stop, tile, part, low_rank, b_base, at)
                    with when(piece == pieces - 1), tir.serial(i64(TILE_ROWS)) as row:
                        low, high = (bind(load(self.sums, at + row * 32 + 16 * half)) for half in range(2))
                        epilogue(tile, row, panel, low, high)

    def _part(
        self,
        product: Product,
        base: Expr,
        begin: Expr,
        stop: Expr,
        tile: Expr,
        part: Expr,
        low_rank: Product | None,
        b_base: Expr | None,
        at: Expr,
    ) -> None:
        """The outputs of a panel that are computed at once, over the groups begin .. stop - 1, added to the sums."""
        lanes = self.machine.lanes
        totals = [[Register("float32", lanes) for _ in range(self.vectors)] for _ in range(TILE_ROWS)]
        place = bind(at + part * (lanes * self.vectors))
        for registers in totals:
            for register in registers:
                register.clear()
        with when(begin > 0):
            for row, registers in enumerate(totals):
                for vector, register in enumerate(registers):
                    register.value = load(self.sums, place + row * 32 + vector * lanes, lanes)
        with tir.serial(begin, stop) as group:
            self._group(product, base, group, tile, part, totals)
        if low_rank is not None:
            with when(begin == 0), tir.serial(low_rank.groups) as group:
                self._group(low_rank, b_base, group, tile, part, totals)
        for row, registers in enumerate(totals):
            for vector, register in enumerate(registers):
                store(self.sums, place + row * 32 + vector * lanes, register.value, lanes)

    def _group(
        self, product: Product, base: Expr, group: Expr, tile: Expr, part: Expr, totals: list[list[Register]]
    ) -> None:
        """Add the products of one group of inputs."""
        machine, lanes, cells = self.machine, self.machine.lanes, product.cells
        cell = bind(cells.cell(tile, group))
        block = bind(base + group * BLOCK_BYTES + part * (4 * lanes * self.vectors))
        integers = [[Register("int32", lanes) for _ in range(self.vectors)] for _ in range(TILE_ROWS)]
        for row, registers in enumerate(integers):
            offset = bind(cells.offsets[cell + row])
            for register in registers:
                register.value = dot_start(machine, 8, offset)
        for chunk in range(_WORDS):
            weights = [
                bind(load(product.weights, block + chunk * 128 + vector * 4 * lanes, 4 * lanes))
                for vector in range(self.vectors)
            ]
            for row, registers in enumerate(integers):
                word = bind(cells.codes[(cell + row) * _WORDS + chunk])
                for register, weight in zip(registers, weights, strict=True):
                    register.value = dot(machine, register.value, weight, word, 8)
        scales_at = bind(base + group * BLOCK_BYTES + 32 * GROUP + part * (4 * lanes * self.vectors))
        scales = [
            bind(
                tir.reinterpret(
                    load(product.weights, scales_at + vector * 4 * lanes, 4 * lanes), dtype=f"float32x{lanes}"
                )
            )
            for vector in range(self.vectors)
        ]
        for row, registers in enumerate(integers):
            factor = bind(splat(cells.scales[cell + row], lanes))
            for total, register, scale in zip(totals[row], registers, scales, strict=True):
                value = bind(tir.cast(register.value, f"float32x{lanes}") * factor)
                total.value = self.e.fma(scale, value, total.value)

    def quantise(self, cells: Cells, cell: Expr, low: Expr, high: Expr) -> None:
        """Quantise 32 float32 into a cell: codes round(v / s) with s = max |v| / 127, at least 1e-12 / 127."""
        largest = bind(tir.max(max_lanes(tir.max(tir.abs(low), tir.abs(high))), f32(1e-12)))
        factor = bind(splat(f32(127.0) / largest))
        codes = [bind(round_to_int(vector * factor)) for vector in (low, high)]
        cell = bind(cell)
        for half in range(2):
            words = tir.reinterpret(tir.cast(codes[half], "int8x16"), dtype="int32x4")
            store(cells.codes, cell * _WORDS + 4 * half, words, 4)
        store(cells.scales, cell, largest * f32(1.0 / 127.0), 1)
        store(cells.offsets, cell, sum_integers(codes[0] + codes[1]) * tir.int32(-128), 1)

    def layer_norm(
        self,
        x: Any,
        row: Expr,
        hidden: int,
        epsilon: float,
        vectors: Any,
        norm: Expr,
        put: Callable[..., None],
    ) -> None:
        """Layer norm of x[row : row + width], where width is hidden rounded up to a multiple of 32 by zeros.

        norm: offset of the weight in vectors, which the bias follows. put(group, low, high) takes the results.
        """
        groups = -(-hidden // GROUP)
        total = [Register() for _ in range(4)]  # two chains for each of two vectors
        for register in total:
            register.clear()
        with tir.serial(i64(groups)) as group:
            for half in range(2):
                total[half].value = total[half].value + load(x, row + group * GROUP + 16 * half)
        mean = bind(splat(sum_lanes(total[0].value + total[1].value) * f32(1.0 / hidden)))
        with tir.serial(i64(groups)) as group:
            for half in range(2):
                apart = bind(load(x, row + group * GROUP + 16 * half) - mean)
                total[2 + half].value = self.e.fma(apart, apart, total[2 + half].value)
        squares = sum_lanes(total[2].value + total[3].value)
        if missing := groups * GROUP - hidden:  # the padding is mean away from the mean
            first = tir.Shuffle([mean], [0])
            squares = squares - first * first * f32(float(missing))
        inverse = bind(splat(f32(1.0) / tir.sqrt(squares * f32(1.0 / hidden) + f32(epsilon))))
        with tir.serial(i64(groups)) as group:
            results = []
            for half in range(2):
                at = bind(group * GROUP + 16 * half)
                normal = (load(x, row + at) - mean) * inverse
                weight, bias = load(vectors, norm + at), load(vectors, norm + groups * GROUP + at)
                results.append(bind(self.e.fma(normal, weight, bias)))
            put(group, *results)


def panels_of(outputs: int) -> int:
    """Panels of a matrix with this padded number of outputs."""
    return panel_bytes(outputs, GROUP) // BLOCK_BYTES
