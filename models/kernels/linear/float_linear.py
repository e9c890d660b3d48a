"""Linear layers without rounding: weights as the files have them, activations and LoRA in float32.

They are slower than those of models/kernels/linear/linear.py, whose weights have a half to a quarter of the bytes.
Every sum over inputs is one chain of multiply-adds in the order of the inputs, so that prefill and decode give the
same bits.
"""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as tir

from models.formats.float_matrix import FLOAT_BITS, FloatType
from models.kernels.emit import Emitter, Register, bind, i64, load, registers, splat, store
from models.kernels.isa import Expr
from models.kernels.linear.linear import Linear
from models.kernels.linear.weight_tiles import AHEAD, GROUP, Activations, Operands, Rows

# path -> lanes that all rows of a tile sum at once: their sums and the weights are held in registers
_AT_ONCE = {"avx512vnni": 16, "avxvnni": 16, "avx2": 16, "neon": 8, "generic": 8}


def load_floats(e: Emitter, kind: FloatType, buffer: Any, offset: Expr, lanes: int) -> Expr:
    """Numbers of a type at a byte offset of a uint8 buffer, as float32 lanes. Exact."""
    size = lanes * FLOAT_BITS[kind] // 8
    raw = load(buffer, offset, size)
    if kind == "f32":
        return bind(tir.reinterpret(raw, dtype=f"float32x{lanes}"))
    halves = tir.reinterpret(raw, dtype=f"uint16x{lanes}")
    if kind == "f16":
        return bind(e.from_half(halves, lanes))
    # bfloat16 is the upper half of float32.
    words = tir.shift_left(tir.cast(halves, f"uint32x{lanes}"), splat(tir.uint32(16), lanes))
    return bind(tir.reinterpret(words, dtype=f"float32x{lanes}"))


class FloatLinear(Linear):
    """Emits the linear layers of a model of floats.

    Instead of codes, an Activations has the buffers

        values        float32 [tile][group][row][32]
        rank_values   float32 [row, or thread in decode][parts * rank], A x
    """

    @property
    def kind(self) -> FloatType:
        """The type of the weights."""
        kind = self.shape.float_type
        assert kind is not None
        return kind

    def copy_embedding(self, token: Expr, group: Expr, out: Expr) -> None:
        """Store 32 values of a token's embedding at x[out + 32 * group:]."""
        size = FLOAT_BITS[self.kind] // 8
        groups = self.shape.hidden // GROUP
        tile = bind((tir.truncdiv(token, 16) * groups + group) * (16 * GROUP * size))
        # A tile is [32 inputs][16 rows], so that every 16th number is the token's. Each is the first of 4 numbers that
        # are loaded as one vector. The up to 3 numbers behind a tile that this reads are those of the next tile, or of
        # the next section, since another section always follows the embedding.
        place = bind(tile + tir.truncmod(token, 16) * size)
        with tir.serial(i64(GROUP)) as number:
            value = load_floats(self.e, self.kind, self.a["embedding"], place + number * (16 * size), 4)
            store(self.a["x"], out + group * GROUP + number, tir.Shuffle([value], [0]), 1)

    def _quantise(self, activations: Activations, cell: Expr, vectors: list[Expr]) -> list[Expr]:
        """Keep 32 float32 as they are."""
        for half, vector in enumerate(vectors):
            store(activations.values, cell * GROUP + 16 * half, vector)
        return []

    def _quantise_ranks(self, activations: Activations, chunk: Expr, vector: Expr) -> None:
        """Keep 16 float32 of A x as they are."""
        store(activations.rank_values, chunk * 16, vector)

    def _group_operands(self, activations: Activations, cells: list[Expr]) -> Operands:
        return Operands(activations.values, [bind(cell * GROUP) for cell in cells], None, [])

    def _rank_operands(self, activations: Activations, chunks: list[Expr]) -> Operands:
        return Operands(activations.rank_values, [bind(chunk * 16) for chunk in chunks], None, [])

    def _lora_tile(
        self, tile: Expr, size: int, operands: Operands, sums: list[Register] | None
    ) -> list[Register]:
        results = sums or registers(len(operands.words))
        self._multiply(self.a["lora"], tile, "f32", (0, 16), size // 64, operands, results)
        return results

    def tiles(
        self,
        weights: Any,
        base: Expr,
        bits: int,
        activations: Activations,
        rows: Rows,
        planes: Expr | None = None,  # noqa: ARG002  # there is one
    ) -> list[Register]:
        results = registers(rows.count)
        size = 16 * GROUP * bits // 8
        lanes = 16 if rows.count == 1 else _AT_ONCE[self.e.machine.path]
        for first in range(0, 16, lanes):
            sums = registers(rows.count, "float32", lanes)
            with tir.serial(i64(activations.groups)) as group:
                tile = bind(base + group * size)
                if rows.count == 1:
                    self.fetch(weights, tile + AHEAD, size)
                cells = [bind(rows.cell(activations, group, row)) for row in range(rows.count)]
                operands = self._group_operands(activations, cells)
                self._multiply(weights, tile, self.kind, (first, lanes), GROUP, operands, sums)
            for result, total in zip(results, sums, strict=True):
                result.set_lanes_at(first, total.value, lanes)
        return results

    def _multiply(
        self,
        weights: Any,
        tile: Expr,
        kind: FloatType,
        outputs: tuple[int, int],
        inputs: int,
        operands: Operands,
        sums: list[Register],
    ) -> None:
        """Add the products of a tile [inputs][16] with each row. outputs: first of the 16, and how many."""
        first, lanes = outputs
        size = FLOAT_BITS[kind] // 8
        with tir.serial(i64(inputs)) as number:
            weight = load_floats(self.e, kind, weights, tile + number * (16 * size) + first * size, lanes)
            for total, start in zip(sums, operands.words, strict=True):
                value = splat(operands.codes[start + number], lanes)
                total.value = self.e.fma(weight, value, total.value)
