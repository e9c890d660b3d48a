"""The parts that the functions of a SigLIP tower share: blocks of rows, their activations, norms and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.emit import Emitter, bind, i64, load, prefetch, store, when
from models.kernels.isa import Expr, Machine
from models.vision.siglip.arguments import value_stride
from models.vision.siglip.float_linear import FloatPanelLinear
from models.vision.siglip.linear import Cells, Epilogue, PanelLinear, Product, RowVectors
from models.vision.siglip.shape import BLOCK_TILES, GROUP, MAX_RANK, SITES, TILE_ROWS, SiglipShape


class SiglipWriter:
    """Base of the functions' writer. a: the function's arguments by name."""

    def __init__(self, machine: Machine, shape: SiglipShape, a: dict[str, Any]) -> None:
        self.e = Emitter(machine)
        self.shape = shape
        self.a = a
        self.width = shape.width
        self.stride = value_stride(shape)

    @contextmanager
    def blocks(self, count: Expr, thread: Expr) -> Iterator[tuple[Expr, Expr]]:
        """The thread's share of the tiles in blocks of equal size: yields (first tile, tiles)."""
        begin = bind(tir.truncdiv(thread * count, self.a["threads"]))
        end = bind(tir.truncdiv((thread + 1) * count, self.a["threads"]))
        blocks = bind(tir.truncdiv(end - begin + (BLOCK_TILES - 1), BLOCK_TILES))
        size = bind(tir.truncdiv(end - begin + blocks - 1, tir.max(blocks, i64(1))))
        with tir.serial(blocks) as block:
            first = bind(begin + block * size)
            yield first, bind(tir.min(size, end - first))

    def linear(self, thread: Expr) -> PanelLinear:
        kernels = PanelLinear if self.shape.float_type is None else FloatPanelLinear
        return kernels(self.e, self.a["sums"], bind(thread * (BLOCK_TILES * TILE_ROWS * 32)))

    def cells(self, name: str, first: Expr, groups: Any) -> Cells:
        if self.shape.float_type is not None:
            return Cells(self.a[f"{name}_values"], None, None, first, groups, i64(0))
        codes, offsets, scales = (self.a[f"{name}_{kind}"] for kind in ("codes", "offsets", "scales"))
        return Cells(codes, offsets, scales, first, groups, i64(0))

    def stream(self, thread: Expr) -> Cells:
        groups = self.width // GROUP
        return self.cells("stream", thread * (BLOCK_TILES * TILE_ROWS * groups), groups)

    def values_at(self, thread: Expr) -> Expr:
        """Offset of the thread's block in "values"."""
        return bind(thread * (BLOCK_TILES * TILE_ROWS * self.stride))

    def norm(self, linear: PanelLinear, thread: Expr, first: Expr, tiles: Expr, norm: str) -> Cells:
        """Layer norm of a block's rows, quantised."""
        stream = self.stream(thread)
        at = bind(self._vector(norm))
        with tir.serial(tiles) as tile:

            def put(group: Expr, rows: RowVectors) -> None:
                linear.quantise(stream, stream.cell(tile, group), rows)

            starts = [bind(((first + tile) * TILE_ROWS + row) * self.width) for row in range(TILE_ROWS)]
            shape = self.shape
            linear.layer_norm(self.a["x"], starts, shape.hidden, shape.epsilon, self.a["vectors"], at, put)
        return stream

    def _vector(self, name: str) -> Expr:
        return self.a["layer"] * self.shape.layer_floats + self.shape.vector_offset(name)

    def _rank_cells(self, thread: Expr, parts: int) -> Cells:
        first = thread * (BLOCK_TILES * TILE_ROWS * 3 * (MAX_RANK // GROUP))
        return self.cells("rank", first, self.a["rank_groups"] * parts)

    def _lora(self, offset: int) -> Expr:
        return (self.a["layer"] * self.shape.layer_lora_bytes + offset) * self.a["rank_groups"]

    def multiply_a(self, linear: PanelLinear, thread: Expr, site: str, cells: Cells, tiles: Expr) -> None:
        """A x of a block for the layers of a site, quantised."""
        parts = len(SITES[site])
        base = bind(self._lora(self.shape.a_offset(site)))
        product = Product(self.a["lora"], base, cells.groups, cells, self.shape.exact_type)
        self.ranks(linear, product, self._rank_cells(thread, parts), parts, tiles)

    def ranks(self, linear: PanelLinear, product: Product, ranks: Cells, parts: Any, tiles: Expr) -> None:
        def epilogue(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
            linear.quantise(ranks, ranks.cell(tile, panel), outputs)

        with when(self.a["rank_groups"] > 0):
            linear.multiply(product, i64(0), self.a["rank_groups"] * parts, tiles, None, epilogue)

    def layer_linear(
        self,
        linear: PanelLinear,
        thread: Expr,
        role: str,
        cells: Cells,
        tiles: Expr,
        put: Epilogue,
        offsets: list[Expr] | None = None,
        part: Expr | None = None,
        before: Callable[[Expr, Expr], None] | None = None,
    ) -> None:
        """factor * (W x + B (A x)) + bias of a block; put(tile, panel, outputs) takes the results.

        offsets, part: where the q, k or v that is meant lies beyond q in the weights, in LoRA's B and in the vectors,
        and its number. before: see PanelLinear.multiply.
        """
        shape = self.shape
        matrix_at, b_at, vector_at = offsets or [i64(0)] * 3
        outputs = shape.matrix(role)[0]
        base = bind(self.a["layer"] * shape.layer_bytes + shape.role_offset(role) + matrix_at)
        b_base = bind(self._lora(shape.b_offset(role)) + b_at * self.a["rank_groups"])
        parts = 1 if part is None else 3
        ranks = self._rank_cells(thread, parts)
        if part is not None:
            ranks = ranks.at_group(bind(part * self.a["rank_groups"]))
        bias_at = bind(self._vector(f"{role}.bias") + vector_at)
        factor_at = bind(self.a["layer"] * shape.layer_factors + shape.factor_offset(role) + vector_at)

        def epilogue(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
            columns = [bind(panel * 32 + 16 * half) for half in range(2)]
            factors = [bind(load(self.a["factors"], factor_at + column)) for column in columns]
            biases = [bind(load(self.a["vectors"], bias_at + column)) for column in columns]
            results = [
                [bind(self.e.fma(row[half], factors[half], biases[half])) for half in range(2)]
                for row in outputs
            ]
            put(tile, panel, results)

        product = Product(self.a["layers"], base, cells.groups, cells, shape.float_type)
        low_rank = Product(self.a["lora"], b_base, self.a["rank_groups"], ranks, shape.exact_type)
        linear.multiply(product, i64(0), i64(outputs // 32), tiles, low_rank, epilogue, before)

    def add_to_x(self, first: Expr) -> Epilogue:
        def put(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
            for row, vectors in enumerate(outputs):
                at = bind(((first + tile) * TILE_ROWS + row) * self.width + panel * 32)
                for half, vector in enumerate(vectors):
                    store(self.a["x"], at + 16 * half, load(self.a["x"], at + 16 * half) + vector)

        return put

    def fetch_x(self, first: Expr) -> Callable[[Expr, Expr], None]:
        """Prefetches what _add_to_x reads: x comes from the third-level cache."""

        def fetch(tile: Expr, panel: Expr) -> None:
            for row in range(TILE_ROWS):
                at = bind(((first + tile) * TILE_ROWS + row) * self.width + panel * 32)
                for half in range(2):
                    prefetch(self.a["x"], at + 16 * half)

        return fetch
