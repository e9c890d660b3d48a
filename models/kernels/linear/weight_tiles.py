"""What the linear layers compute on: quantised activations by rows, and tiles of weights multiplied with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.emit import Emitter, Register, bind, i64, load, prefetch, splat
from models.kernels.isa import Expr, dot, dot_start
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import SITES, LoraLayout

GROUP = 32
CODE_WORDS = GROUP // 4  # int32 words of a group's codes
# Distance in bytes at which decode prefetches weights. Decode reads each weight once, at the speed of memory, and the
# processor's own prefetching stops at every page. Distances from 4 to 32 KB make it a fifth faster.
AHEAD = 8192
CACHE_LINE = 64


@dataclass(frozen=True)
class Activations:
    """The buffers of the quantised activations that the linear layers of one site read.

    A row belongs to a tile of rows; decode has one tile of one row. parts: the linear layers of the site. planes: of
    codes; the second has what the first lacks of the values, and only the first layer reads it.

    codes                     int32, four int8 codes in -127..127 each, [tile][plane][group][row][8]
    scales, sums              float32 [tile][plane][group][row]; sums = scale * sum of the codes
    offsets, offsets_of_4     int32 [tile][plane][group][row], -128 and -8 * sum of the codes
    squares                   float32 [row][group], sums of squares; only where an RMS norm precedes
    inverse                   float32 [row], 1 / root mean square; likewise
    ranks                     float32 [group][parts * rank], A x of single groups, or of the groups of a span that a
                              thread has from its beginning, at the span's first group; decode only
    totals                    float32 [row][parts * rank / 16][2][16], A x of earlier spans, and of the current one;
                              prefill only
    rank_codes                int32, four int8 codes each, [row, or thread in decode][parts * rank / 16][4]
    rank_scales, rank_offsets  float32 and int32 [row or thread][parts * rank / 16]; A x quantised by groups of 16

    normed: whether an RMS norm precedes.
    """

    site: str
    width: int
    normed: bool
    planes: int
    buffers: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.buffers[name]

    @property
    def groups(self) -> int:
        return self.width // GROUP

    @property
    def span(self) -> int:
        """Groups of a span. A x is added up within spans, then over spans, for every number of threads.

        Spans are a quarter or a half of the groups, so that two or four threads, which share the groups in order, have
        whole spans: a thread reads a sum for each span that another one has, not a vector for each group.
        """
        return next(self.groups // count for count in (4, 2, 1) if self.groups % count == 0)

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
        """Offset of (tile, group, row) in scales, sums and offsets. Groups of the second plane follow the first's."""
        return (self.tile * (activations.planes * activations.groups) + group) * self.count + row


ONE_ROW = Rows(1, i64(0))


class WeightTiles:
    """Base of Linear: products of a tile of weights with rows. a: the function's arguments by name."""

    def __init__(self, emitter: Emitter, shape: LlamaShape, a: dict[str, Any]) -> None:
        self.e = emitter
        self.shape = shape
        self.a = a
        self.lora = LoraLayout(shape)

    def fetch(self, buffer: Any, offset: Expr, size: int) -> None:
        """Prefetch the cache lines of these bytes."""
        for line in range(0, size, CACHE_LINE):
            prefetch(buffer, offset + line)

    def integers(
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
