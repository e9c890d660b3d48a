"""The functions of a SigLIP tower in TIR: embed, then project, attend and mlp for each layer, then connect.

    embed      patches -> x: patch embedding and positions
    project    x -> layer norm -> queries, keys and values
    attend     attention -> x += o
    mlp        x += fc2(gelu(fc1(layer norm(x))))
    connect    layer norm -> squares of patches side by side -> output rows

Between two functions the threads meet. Within one, a thread takes blocks of rows through all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import tvm
from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath
from models.kernels.emit import Emitter, bind, function, i64, launch, load, phase, prefetch, store, when
from models.kernels.isa import MACHINES, Expr, Machine
from models.vision.siglip.arguments import SCALARS, buffer_types, value_stride
from models.vision.siglip.arithmetic import gelu
from models.vision.siglip.attention import FullAttention
from models.vision.siglip.float_linear import FloatPanelLinear
from models.vision.siglip.linear import Cells, Epilogue, PanelLinear, Product, RowVectors
from models.vision.siglip.shape import (
    BLOCK_TILES,
    GROUP,
    MAX_RANK,
    SITES,
    TILE_ROWS,
    SiglipShape,
    panel_bytes,
)

FUNCTIONS = ("embed", "project", "attend", "mlp", "connect")


def build(path: KernelPath, **shape: Any) -> tvm.IRModule:
    """All functions for one kernel path (a builder for models.compiler.compile). shape: fields of a SiglipShape."""
    functions, tower = {}, SiglipShape(**shape)
    for name in FUNCTIONS:
        opened = function(f"siglip_{name}", SCALARS, list(buffer_types(tower).items()))
        with opened as arguments, launch():
            getattr(_Writer(MACHINES[path], tower, arguments), name)()
        functions[f"siglip_{name}"] = opened.result
    return tvm.IRModule(functions)


class _Writer:
    """Emits the bodies of the functions. a: the function's arguments by name."""

    def __init__(self, machine: Machine, shape: SiglipShape, a: dict[str, Any]) -> None:
        self.e = Emitter(machine)
        self.shape = shape
        self.a = a
        self.width = shape.width
        self.stride = value_stride(shape)

    # -- the functions ---------------------------------------------------------------------------------------

    def embed(self) -> None:
        """x = patch embedding + positions."""
        with (
            phase(self.a["threads"]) as thread,
            self._blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self._linear(thread)
            groups = self.shape.pixel_width // GROUP
            cells = replace(self._cells("pixel", first * (groups * TILE_ROWS), groups), lowest=-128)

            def epilogue(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
                for row, vectors in enumerate(outputs):
                    index = bind((first + tile) * TILE_ROWS + row)
                    # Rows beyond the last patch are computed too; they only have to be finite.
                    position = bind(tir.min(index, i64(self.shape.patches - 1)) * self.width + panel * 32)
                    for half, vector in enumerate(vectors):
                        value = vector + load(self.a["positions"], position + 16 * half)
                        store(self.a["x"], index * self.width + panel * 32 + 16 * half, value)

            kind = self.shape.float_type
            product = Product(self.a["patch"], i64(0), groups, cells, kind)
            rest = None
            if kind is None:
                lost = i64(panel_bytes(self.width, self.shape.pixel_width))
                rest = Product(self.a["patch"], lost, groups, cells)
            linear.multiply(product, i64(0), i64(self.width // 32), tiles, rest, epilogue)

    def project(self) -> None:
        """Layer norm, then queries, keys and values."""
        with (
            phase(self.a["threads"]) as thread,
            self._blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self._linear(thread)
            attention = FullAttention(self.e, self.shape, self.a)
            stream = self._norm(linear, thread, first, tiles, "norm1.weight")
            self._multiply_a(linear, thread, "qkv", stream, tiles)
            values_at = self._values_at(thread)
            with tir.serial(i64(3)) as role:
                offsets = [
                    bind(role * size)
                    for size in (
                        panel_bytes(self.width, self.width, self.shape.float_type),
                        panel_bytes(self.width, GROUP, self.shape.exact_type),
                        self.width,
                    )
                ]

                def put(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
                    for row, vectors in enumerate(outputs):
                        at = bind(values_at + (tile * TILE_ROWS + row) * self.stride + panel * 32)
                        for half, vector in enumerate(vectors):
                            store(self.a["values"], at + 16 * half, vector)

                self._layer_linear(linear, thread, "q", stream, tiles, put, offsets, role)
                with tir.serial(tiles) as tile, tir.serial(i64(TILE_ROWS // 2)) as two:
                    row = bind((first + tile) * TILE_ROWS + two * 2)
                    at = bind(values_at + (tile * TILE_ROWS + two * 2) * self.stride)
                    with when(role == 0), tir.serial(i64(2)) as one:
                        attention.store_queries(row + one, bind(at + one * self.stride))
                    with when(role == 1), tir.serial(i64(2)) as one:
                        attention.store_keys(bind(row + one), bind(at + one * self.stride))
                    with when(role == 2):
                        attention.store_values(row, at)

    def attend(self) -> None:
        """Attention, and x += o."""
        with (
            phase(self.a["threads"]) as thread,
            self._blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self._linear(thread)
            values_at = self._values_at(thread)
            FullAttention(self.e, self.shape, self.a).attend(thread, first, tiles, values_at)
            stream = self._stream(thread)
            with tir.serial(tiles) as tile, tir.serial(i64(self.width // GROUP)) as group:
                at = [
                    bind(values_at + (tile * TILE_ROWS + row) * self.stride + group * GROUP)
                    for row in range(TILE_ROWS)
                ]
                rows = [[bind(load(self.a["values"], row + 16 * half)) for half in range(2)] for row in at]
                linear.quantise(stream, stream.cell(tile, group), rows)
            self._multiply_a(linear, thread, "o", stream, tiles)
            self._layer_linear(
                linear, thread, "o", stream, tiles, self._add_to_x(first), before=self._fetch_x(first)
            )

    def mlp(self) -> None:
        """x += fc2(gelu(fc1(layer norm of x)))."""
        with (
            phase(self.a["threads"]) as thread,
            self._blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self._linear(thread)
            stream = self._norm(linear, thread, first, tiles, "norm2.weight")
            groups = self.shape.inner_width // GROUP
            inner = self._cells("inner", thread * (BLOCK_TILES * TILE_ROWS * groups), groups)
            self._multiply_a(linear, thread, "fc1", stream, tiles)

            def put(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
                rows = [list(gelu(self.e, low, high)) for low, high in outputs]
                linear.quantise(inner, inner.cell(tile, panel), rows)

            self._layer_linear(linear, thread, "fc1", stream, tiles, put)
            self._multiply_a(linear, thread, "fc2", inner, tiles)
            self._layer_linear(
                linear, thread, "fc2", inner, tiles, self._add_to_x(first), before=self._fetch_x(first)
            )

    def connect(self) -> None:
        """The final layer norm, and the connector over squares of patches."""
        shape, groups = self.shape, self.shape.connector_width // GROUP
        squares = self._cells("square", i64(0), groups)
        across = shape.side // shape.shuffle  # squares on a side
        with phase(self.a["threads"]) as thread, self._blocks(i64(shape.tiles), thread) as (first, tiles):
            linear = self._linear(thread)
            with tir.serial(tiles * TILE_ROWS) as number:
                patch = bind(first * TILE_ROWS + number)
                with when(patch < shape.patches):
                    y, x = bind(tir.truncdiv(patch, shape.side)), bind(tir.truncmod(patch, shape.side))
                    square = bind(tir.truncdiv(y, shape.shuffle) * across + tir.truncdiv(x, shape.shuffle))
                    inside = bind(
                        tir.truncmod(y, shape.shuffle) * shape.shuffle + tir.truncmod(x, shape.shuffle)
                    )
                    tile, row = bind(tir.truncdiv(square, TILE_ROWS)), bind(tir.truncmod(square, TILE_ROWS))

                    def put(group: Expr, rows: RowVectors) -> None:
                        cell = squares.cell(tile, inside * (self.width // GROUP) + group) + row
                        linear.quantise(squares, cell, rows)

                    start, norm = bind(patch * self.width), self.a["vector_base"]
                    linear.layer_norm(
                        self.a["x"],
                        [start],
                        shape.hidden,
                        shape.epsilon,
                        self.a["vectors"],
                        norm,
                        put,
                    )
        rank = self._cells("square_rank", i64(0), self.a["rank_groups"])
        kind = shape.exact_type
        a_bytes = panel_bytes(GROUP, shape.connector_width, kind)
        b_base = bind(self.a["lora_base"] + self.a["rank_groups"] * a_bytes)
        with phase(self.a["threads"]) as thread:
            tiles = i64(shape.output_tiles)
            with when(thread == 0):
                linear = self._linear(thread)
                product = Product(self.a["lora"], self.a["lora_base"], groups, squares, kind)
                self._ranks(linear, product, rank, i64(1), tiles)
        with phase(self.a["threads"]) as thread:
            linear = self._linear(thread)
            low_rank = Product(self.a["lora"], b_base, self.a["rank_groups"], rank, kind)
            begin = bind(tir.truncdiv(thread * self.a["panels"], self.a["threads"]))
            end = bind(tir.truncdiv((thread + 1) * self.a["panels"], self.a["threads"]))

            def epilogue(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
                for half in range(2):
                    column = bind(panel * 32 + 16 * half)
                    factor = bind(load(self.a["factors"], self.a["factor_base"] + column))
                    for row, vectors in enumerate(outputs):
                        at = (tile * TILE_ROWS + row) * (self.a["panels"] * 32) + column
                        store(self.a["output"], at, vectors[half] * factor)

            product = Product(self.a["connector"], i64(0), groups, squares, kind)
            linear.multiply(product, begin, end, i64(shape.output_tiles), low_rank, epilogue)

    # -- parts of them ---------------------------------------------------------------------------------------

    @contextmanager
    def _blocks(self, count: Expr, thread: Expr) -> Iterator[tuple[Expr, Expr]]:
        """The thread's share of the tiles in blocks of equal size: yields (first tile, tiles)."""
        begin = bind(tir.truncdiv(thread * count, self.a["threads"]))
        end = bind(tir.truncdiv((thread + 1) * count, self.a["threads"]))
        blocks = bind(tir.truncdiv(end - begin + (BLOCK_TILES - 1), BLOCK_TILES))
        size = bind(tir.truncdiv(end - begin + blocks - 1, tir.max(blocks, i64(1))))
        with tir.serial(blocks) as block:
            first = bind(begin + block * size)
            yield first, bind(tir.min(size, end - first))

    def _linear(self, thread: Expr) -> PanelLinear:
        kernels = PanelLinear if self.shape.float_type is None else FloatPanelLinear
        return kernels(self.e, self.a["sums"], bind(thread * (BLOCK_TILES * TILE_ROWS * 32)))

    def _cells(self, name: str, first: Expr, groups: Any) -> Cells:
        if self.shape.float_type is not None:
            return Cells(self.a[f"{name}_values"], None, None, first, groups, i64(0))
        codes, offsets, scales = (self.a[f"{name}_{kind}"] for kind in ("codes", "offsets", "scales"))
        return Cells(codes, offsets, scales, first, groups, i64(0))

    def _stream(self, thread: Expr) -> Cells:
        groups = self.width // GROUP
        return self._cells("stream", thread * (BLOCK_TILES * TILE_ROWS * groups), groups)

    def _values_at(self, thread: Expr) -> Expr:
        """Offset of the thread's block in "values"."""
        return bind(thread * (BLOCK_TILES * TILE_ROWS * self.stride))

    def _norm(self, linear: PanelLinear, thread: Expr, first: Expr, tiles: Expr, norm: str) -> Cells:
        """Layer norm of a block's rows, quantised."""
        stream = self._stream(thread)
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
        return self._cells("rank", first, self.a["rank_groups"] * parts)

    def _lora(self, offset: int) -> Expr:
        return (self.a["layer"] * self.shape.layer_lora_bytes + offset) * self.a["rank_groups"]

    def _multiply_a(self, linear: PanelLinear, thread: Expr, site: str, cells: Cells, tiles: Expr) -> None:
        """A x of a block for the layers of a site, quantised."""
        parts = len(SITES[site])
        base = bind(self._lora(self.shape.a_offset(site)))
        product = Product(self.a["lora"], base, cells.groups, cells, self.shape.exact_type)
        self._ranks(linear, product, self._rank_cells(thread, parts), parts, tiles)

    def _ranks(self, linear: PanelLinear, product: Product, ranks: Cells, parts: Any, tiles: Expr) -> None:
        def epilogue(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
            linear.quantise(ranks, ranks.cell(tile, panel), outputs)

        with when(self.a["rank_groups"] > 0):
            linear.multiply(product, i64(0), self.a["rank_groups"] * parts, tiles, None, epilogue)

    def _layer_linear(
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

    def _add_to_x(self, first: Expr) -> Epilogue:
        def put(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
            for row, vectors in enumerate(outputs):
                at = bind(((first + tile) * TILE_ROWS + row) * self.width + panel * 32)
                for half, vector in enumerate(vectors):
                    store(self.a["x"], at + 16 * half, load(self.a["x"], at + 16 * half) + vector)

        return put

    def _fetch_x(self, first: Expr) -> Callable[[Expr, Expr], None]:
        """Prefetches what _add_to_x reads: x comes from the third-level cache."""

        def fetch(tile: Expr, panel: Expr) -> None:
            for row in range(TILE_ROWS):
                at = bind(((first + tile) * TILE_ROWS + row) * self.width + panel * 32)
                for half in range(2):
                    prefetch(self.a["x"], at + 16 * half)

        return fetch
