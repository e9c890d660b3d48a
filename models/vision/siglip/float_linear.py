"""Linear layers of a tower of floats: weights in the type of the files, activations, connector and LoRA in float32.

The cells of its activations have float32 values instead of codes: [cell][32] in Cells.codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath
from models.formats.float_matrix import FLOAT_BITS
from models.kernels.emit import Register, bind, i64, splat, store
from models.kernels.isa import Expr
from models.kernels.linear.float_linear import load_floats
from models.vision.siglip.linear import Cells, PanelLinear, Product, RowVectors
from models.vision.siglip.shape import GROUP


class FloatPanelLinear(PanelLinear):
    """Emits linear layers on floats."""

    vectors_at_once: ClassVar[Mapping[KernelPath, int]] = {
        "avx512vnni": 2, "avxvnni": 2, "avx2": 2, "neon": 2, "generic": 2
    }  # fmt: skip

    def _group(
        self, product: Product, base: Expr, group: Expr, tile: Expr, part: Expr, totals: list[list[Register]]
    ) -> None:
        """Add the products of one group of inputs."""
        kind, lanes = product.kind, self.machine.lanes
        assert kind is not None
        size = FLOAT_BITS[kind] // 8
        values: Any = product.cells.codes
        cell = bind(product.cells.cell(tile, group) * GROUP)
        block = bind(base + group * product.block_bytes + part * (lanes * self.vectors * size))
        with tir.serial(i64(GROUP)) as number:
            weights = [
                load_floats(
                    self.e, kind, product.weights, block + (number * 32 + vector * lanes) * size, lanes
                )
                for vector in range(self.vectors)
            ]
            for row, line in enumerate(totals):
                value = bind(splat(values[cell + row * GROUP + number], lanes))
                for total, weight in zip(line, weights, strict=True):
                    total.value = self.e.fma(weight, value, total.value)

    def quantise(self, cells: Cells, cell: Expr, rows: RowVectors) -> None:
        """Keep a group of 32 float32 of each row in consecutive cells, as it is."""
        for row, vectors in enumerate(rows):
            for half, vector in enumerate(vectors):
                store(cells.codes, (cell + row) * GROUP + 16 * half, vector)
