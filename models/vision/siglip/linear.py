"""Linear layers of the tower: y = factor * (W x + B (A x)) + bias on weights and activations of 8 bits.

Activations are quantised in groups of 32 inputs: int8 codes c in -127..127 with a float32 scale s. With the codes w
and the scale t of an output's weights, a group contributes t s sum (w - 128) c, where the sum is an exact integer.

A thread takes a panel of 32 outputs after the other, and multiplies it with all tiles of rows of its block. A tile of
6 rows times as many outputs as fit into registers is computed at once. Long rows are cut into pieces whose part of
a panel stays in the first-level cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath
from models.formats.float_matrix import FloatType
from models.kernels.emit import (
    Emitter,
    Register,
    bind,
    f32,
    i64,
    load,
    prefetch,
    registers,
    round_to_int,
    splat,
    store,
    sum_integers,
    sum_lanes,
    when,
)
from models.kernels.isa import Expr, Machine, dot, dot_start, intrinsic
from models.vision.siglip.arithmetic import largest_magnitude
from models.vision.siglip.shape import BLOCK_BYTES, GROUP, TILE_ROWS, block_bytes

PIECE_GROUPS = 24
"""Groups of inputs whose part of a panel (27 KB) stays in the first-level cache, with the rows that it multiplies."""

_LINE = 64  # bytes of a cache line
# Lines of the next piece of the weights that are prefetched with every group of inputs. Each tile fetches another part,
# so that 9 tiles fetch all of it. Without this the first tile waits for its weights, which costs a tenth of the time.
_LINES = 2
_WORDS = GROUP // 4  # int32 words of a group's codes


@dataclass(frozen=True)
class Cells:
    """A buffer of quantised activations. A cell is a group of 32 inputs of one row.

    codes: int32 [tile][group][row of the tile][8], four int8 each. offsets: int32 [tile][group][row], -128 times the
    sum of the codes. scales: float32 likewise.
    first: cell at which the rows begin. groups: of a row, in this buffer. skip: group at which the inputs begin.
    lowest: the smallest code.
    """

    codes: Any
    offsets: Any
    scales: Any
    first: Expr
    groups: Expr
    skip: Expr
    lowest: int = -127

    def cell(self, tile: Expr, group: Expr) -> Expr:
        """The cell of a tile's first row."""
        return self.first + (tile * self.groups + self.skip + group) * TILE_ROWS

    def at_group(self, skip: Expr) -> Cells:
        """The same rows from another group on."""
        return replace(self, skip=skip)


@dataclass(frozen=True)
class Product:
    """Weights and the activations that they are multiplied with.

    weights: the uint8 buffer. base: offset of the first panel. groups: of 32 inputs, an int where it is fixed.
    kind: of floats; None for 8 bits.
    """

    weights: Any
    base: Expr
    groups: Any
    cells: Cells
    kind: FloatType | None = None

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of a panel: 32 inputs of 32 outputs."""
        return block_bytes(self.kind)


RowVectors = list[list[Expr]]
"""The two vectors of 16 values of each row of a tile."""

Epilogue = Callable[[Expr, Expr, RowVectors], None]
"""epilogue(tile, panel, outputs)"""


def _by_signs(machine: Machine, cells: Cells) -> bool:
    """Whether to multiply |w| with the activations that have taken w's sign. -128 has no opposite in 8 bits."""
    return machine.path == "avx2" and cells.lowest > -128


def _start(machine: Machine, cells: Cells, offset: Expr) -> Expr:
    """The initial total of _dot: see models.kernels.isa.dot_start."""
    if _by_signs(machine, cells):
        return tir.broadcast(tir.int32(0), machine.lanes)
    return dot_start(machine, 8, offset)


def _dot(machine: Machine, cells: Cells, total: Expr, weights: Expr, word: Expr) -> Expr:
    """models.kernels.isa.dot for 8-bit weights.

    With AVX2 it takes 4 instead of 6 instructions: 16-bit sums of |w| <= 128 times two codes do not overflow. Several
    rows share |w|.
    """
    if not _by_signs(machine, cells):
        return dot(machine, total, weights, word, 8)
    signed = tir.reinterpret(tir.bitwise_xor(weights, tir.broadcast(tir.uint8(128), 32)), dtype="int8x32")
    codes = tir.reinterpret(tir.broadcast(word, 8), dtype="int8x32")
    size = tir.reinterpret(intrinsic("llvm.x86.avx2.psign.b", "int8x32", signed, signed), dtype="uint8x32")
    turned = intrinsic("llvm.x86.avx2.psign.b", "int8x32", codes, signed)
    pairs = intrinsic("llvm.x86.avx2.pmadd.ub.sw", "int16x16", size, turned)
    ones = tir.broadcast(tir.int16(1), 16)
    return total + intrinsic("llvm.x86.avx2.pmadd.wd", "int32x8", pairs, ones)


class PanelLinear:
    """Emits linear layers on 8 bits. sums: the thread's float32 scratch [BLOCK_TILES][TILE_ROWS][32] in a buffer."""

    # path -> vectors of outputs that a tile of rows computes at once
    vectors_at_once: ClassVar[Mapping[KernelPath, int]] = {
        "avx512vnni": 2, "avxvnni": 1, "avx2": 1, "neon": 2, "generic": 1
    }  # fmt: skip

    def __init__(self, emitter: Emitter, sums: Any, sums_at: Expr) -> None:
        self.e = emitter
        self.machine: Machine = emitter.machine
        self.sums = sums
        self.sums_at = sums_at
        self.vectors = self.vectors_at_once[self.machine.path]

    def multiply(
        self,
        product: Product,
        first: Expr,
        end: Expr,
        tiles: Expr,
        low_rank: Product | None,
        epilogue: Epilogue,
        before: Callable[[Expr, Expr], None] | None = None,
    ) -> None:
        """Multiply panels first .. end - 1 with all tiles.

        low_rank: another product to add, such as LoRA's B with A x; its groups may be 0. before(tile, panel): emits
        what precedes the last piece of a tile's products, such as prefetches for the epilogue.
        """
        groups: int = product.groups
        pieces = -(-groups // PIECE_GROUPS)
        size = -(-groups // pieces)
        at_once = self.machine.lanes * self.vectors
        with tir.serial(first, end) as panel:
            base = bind(product.base + panel * (groups * product.block_bytes))
            b_base = None
            if low_rank is not None:
                b_base = bind(low_rank.base + panel * low_rank.groups * low_rank.block_bytes)
            with tir.serial(i64(pieces)) as piece:
                begin = bind(piece * size)
                stop = bind(tir.min(begin + size, i64(groups)))
                with tir.serial(tiles) as tile:
                    # One tile's sums are used again for the next one, unless further pieces are added to them.
                    at = bind(self.sums_at + (tile if pieces > 1 else i64(0)) * (TILE_ROWS * 32))
                    if before is not None:
                        with when(piece == pieces - 1):
                            before(tile, panel)
                    if at_once == 32 and pieces == 1:
                        totals = self._part(
                            product, base, (begin, stop), tile, i64(0), low_rank, b_base, None
                        )
                        epilogue(tile, panel, [[each.value for each in row] for row in totals])
                    else:
                        with tir.serial(i64(32 // at_once)) as part:
                            place = bind(at + part * at_once)
                            self._part(product, base, (begin, stop), tile, part, low_rank, b_base, place)
                        with when(piece == pieces - 1):
                            outputs = [
                                [bind(load(self.sums, at + row * 32 + 16 * half)) for half in range(2)]
                                for row in range(TILE_ROWS)
                            ]
                            epilogue(tile, panel, outputs)

    def _part(
        self,
        product: Product,
        base: Expr,
        span: tuple[Expr, Expr],
        tile: Expr,
        part: Expr,
        low_rank: Product | None,
        b_base: Expr | None,
        place: Expr | None,
    ) -> list[list[Register]]:
        """The outputs of a panel that are computed at once, over the groups of a span.

        place: offset of these outputs in the sums, which they are added to; None starts and ends in registers.
        """
        lanes, (begin, stop) = self.machine.lanes, span
        totals = [[Register("float32", lanes) for _ in range(self.vectors)] for _ in range(TILE_ROWS)]
        places: list[list[Expr]] = []
        if place is not None:
            places = [
                [place + row * 32 + vector * lanes for vector in range(self.vectors)]
                for row in range(TILE_ROWS)
            ]
        for line in totals:
            for register in line:
                register.clear()
        if place is not None:
            with when(begin > 0):
                for line, offsets in zip(totals, places, strict=True):
                    for register, offset in zip(line, offsets, strict=True):
                        register.value = load(self.sums, offset, lanes)
        next_piece = bind(base + stop * product.block_bytes)
        last = bind((stop - begin) * product.block_bytes - _LINE)
        steps = bind(tile * (stop - begin) - begin)
        with tir.serial(begin, stop) as group:
            ahead = bind(tir.min((steps + group) * (_LINES * _LINE), last))
            for line_number in range(_LINES):
                prefetch(product.weights, next_piece + ahead + line_number * _LINE)
            self._group(product, base, group, tile, part, totals)
        if low_rank is not None:
            with when(begin == 0), tir.serial(low_rank.groups) as group:
                self._group(low_rank, b_base, group, tile, part, totals)
        for line, offsets in zip(totals, places, strict=False):
            for register, offset in zip(line, offsets, strict=True):
                store(self.sums, offset, register.value, lanes)
        return totals

    def _group(
        self, product: Product, base: Expr, group: Expr, tile: Expr, part: Expr, totals: list[list[Register]]
    ) -> None:
        """Add the products of one group of inputs."""
        machine, lanes, cells = self.machine, self.machine.lanes, product.cells
        cell = bind(cells.cell(tile, group))
        block = bind(base + group * BLOCK_BYTES + part * (4 * lanes * self.vectors))
        integers = [[Register("int32", lanes) for _ in range(self.vectors)] for _ in range(TILE_ROWS)]
        for row, line in enumerate(integers):
            offset = bind(cells.offsets[cell + row])
            for register in line:
                register.value = _start(machine, cells, offset)
        for chunk in range(_WORDS):
            weights = [
                bind(load(product.weights, block + chunk * 128 + vector * 4 * lanes, 4 * lanes))
                for vector in range(self.vectors)
            ]
            for row, line in enumerate(integers):
                word = bind(cells.codes[(cell + row) * _WORDS + chunk])
                for register, weight in zip(line, weights, strict=True):
                    register.value = _dot(machine, cells, register.value, weight, word)
        scales_at = bind(base + group * BLOCK_BYTES + 32 * GROUP + part * (4 * lanes * self.vectors))
        scales = [
            bind(
                tir.reinterpret(
                    load(product.weights, scales_at + vector * 4 * lanes, 4 * lanes), dtype=f"float32x{lanes}"
                )
            )
            for vector in range(self.vectors)
        ]
        for row, line in enumerate(integers):
            factor = bind(splat(cells.scales[cell + row], lanes))
            for total, register, scale in zip(totals[row], line, scales, strict=True):
                value = bind(tir.cast(register.value, f"float32x{lanes}") * factor)
                total.value = self.e.fma(scale, value, total.value)

    def quantise(self, cells: Cells, cell: Expr, rows: RowVectors) -> None:
        """Quantise a group of 32 float32 of each row into consecutive cells.

        Codes are round(v / s) with s = max |v| / 127; the maximum counts as 1e-12 at least.
        """
        cell = bind(cell)
        for row, vectors in enumerate(rows):
            largest = bind(tir.max(largest_magnitude(vectors), f32(1e-12)))
            factor = bind(splat(f32(127.0) / largest))
            codes = [bind(round_to_int(vector * factor)) for vector in vectors]
            for half in range(2):
                words = tir.reinterpret(tir.cast(codes[half], "int8x16"), dtype="int32x4")
                store(cells.codes, (cell + row) * _WORDS + 4 * half, words, 4)
            store(cells.scales, cell + row, largest * f32(1.0 / 127.0), 1)
            store(cells.offsets, cell + row, sum_integers(codes[0] + codes[1]) * tir.int32(-128), 1)

    def layer_norm(
        self,
        x: Any,
        starts: list[Expr],
        hidden: int,
        epsilon: float,
        vectors: Any,
        norm: Expr,
        put: Callable[[Expr, RowVectors], None],
    ) -> None:
        """Layer norm of rows of x, each hidden wide and padded with zeros to a multiple of 32.

        starts: offsets of rows. norm: offset of the weight in vectors, which the bias follows.
        put(group, rows) takes the results.
        """
        groups = -(-hidden // GROUP)
        whole = groups * GROUP
        totals = registers(len(starts))
        with tir.serial(i64(groups)) as group:
            for start, total in zip(starts, totals, strict=True):
                low, high = (load(x, start + group * GROUP + 16 * half) for half in range(2))
                total.value = total.value + (low + high)
        mean = [bind(splat(sum_lanes(total.value) * f32(1.0 / hidden))) for total in totals]
        for total in totals:
            total.clear()
        with tir.serial(i64(groups)) as group:
            for row, (start, total) in enumerate(zip(starts, totals, strict=True)):
                for half in range(2):
                    apart = bind(load(x, start + group * GROUP + 16 * half) - mean[row])
                    total.value = self.e.fma(apart, apart, total.value)
        inverse = []
        for middle, total in zip(mean, totals, strict=True):
            squares = sum_lanes(total.value)
            if whole > hidden:  # each value of the padding is mean away from the mean
                first = tir.Shuffle([middle], [0])
                squares = squares - first * first * f32(float(whole - hidden))
            inverse.append(bind(splat(f32(1.0) / tir.sqrt(squares * f32(1.0 / hidden) + f32(epsilon)))))
        with tir.serial(i64(groups)) as group:
            places = [bind(group * GROUP + 16 * half) for half in range(2)]
            weights = [bind(load(vectors, norm + place)) for place in places]
            biases = [bind(load(vectors, norm + whole + place)) for place in places]
            results = []
            for row, start in enumerate(starts):
                normal = [(load(x, start + place) - mean[row]) * inverse[row] for place in places]
                results.append(
                    [bind(self.e.fma(normal[half], weights[half], biases[half])) for half in range(2)]
                )
            put(group, results)
