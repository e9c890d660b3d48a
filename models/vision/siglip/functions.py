"""The functions of a SigLIP tower in TIR: embed, then project, attend and mlp for each layer, then connect.

    embed      patches -> x: patch embedding and positions
    project    x -> layer norm -> queries, keys and values
    attend     attention -> x += o
    mlp        x += fc2(gelu(fc1(layer norm(x))))
    connect    layer norm -> squares of patches side by side -> output rows

Between two functions the threads meet. Within one, a thread takes blocks of rows through all steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tvm
from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath
from models.kernels.emit import bind, function, i64, launch, load, phase, store, when
from models.kernels.isa import MACHINES, Expr
from models.vision.siglip.arguments import SCALARS, buffer_types
from models.vision.siglip.arithmetic import gelu
from models.vision.siglip.attention import FullAttention
from models.vision.siglip.linear import Product, RowVectors
from models.vision.siglip.shape import BLOCK_TILES, GROUP, TILE_ROWS, SiglipShape, panel_bytes
from models.vision.siglip.writer import SiglipWriter

FUNCTIONS = ("embed", "project", "attend", "mlp", "connect")


def build(path: KernelPath, **shape: Any) -> tvm.IRModule:
    """All functions for one kernel path (a builder for models.compiler.compile). shape: fields of a SiglipShape."""
    functions, tower = {}, SiglipShape(**shape)
    for name in FUNCTIONS:
        opened = function(f"siglip_{name}", SCALARS, list(buffer_types(tower).items()))
        with opened as arguments, launch():
            getattr(_Functions(MACHINES[path], tower, arguments), name)()
        functions[f"siglip_{name}"] = opened.result
    return tvm.IRModule(functions)


class _Functions(SiglipWriter):
    """Emits the bodies of the functions."""

    def embed(self) -> None:
        """x = patch embedding + positions."""
        with (
            phase(self.a["threads"]) as thread,
            self.blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self.linear(thread)
            groups = self.shape.pixel_width // GROUP
            cells = replace(self.cells("pixel", first * (groups * TILE_ROWS), groups), lowest=-128)

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
            self.blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self.linear(thread)
            attention = FullAttention(self.e, self.shape, self.a)
            stream = self.norm(linear, thread, first, tiles, "norm1.weight")
            self.multiply_a(linear, thread, "qkv", stream, tiles)
            values_at = self.values_at(thread)
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

                self.layer_linear(linear, thread, "q", stream, tiles, put, offsets, role)
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
            self.blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self.linear(thread)
            values_at = self.values_at(thread)
            FullAttention(self.e, self.shape, self.a).attend(thread, first, tiles, values_at)
            stream = self.stream(thread)
            with tir.serial(tiles) as tile, tir.serial(i64(self.width // GROUP)) as group:
                at = [
                    bind(values_at + (tile * TILE_ROWS + row) * self.stride + group * GROUP)
                    for row in range(TILE_ROWS)
                ]
                rows = [[bind(load(self.a["values"], row + 16 * half)) for half in range(2)] for row in at]
                linear.quantise(stream, stream.cell(tile, group), rows)
            self.multiply_a(linear, thread, "o", stream, tiles)
            self.layer_linear(
                linear, thread, "o", stream, tiles, self.add_to_x(first), before=self.fetch_x(first)
            )

    def mlp(self) -> None:
        """x += fc2(gelu(fc1(layer norm of x)))."""
        with (
            phase(self.a["threads"]) as thread,
            self.blocks(i64(self.shape.tiles), thread) as (first, tiles),
        ):
            linear = self.linear(thread)
            stream = self.norm(linear, thread, first, tiles, "norm2.weight")
            groups = self.shape.inner_width // GROUP
            inner = self.cells("inner", thread * (BLOCK_TILES * TILE_ROWS * groups), groups)
            self.multiply_a(linear, thread, "fc1", stream, tiles)

            def put(tile: Expr, panel: Expr, outputs: RowVectors) -> None:
                rows = [list(gelu(self.e, low, high)) for low, high in outputs]
                linear.quantise(inner, inner.cell(tile, panel), rows)

            self.layer_linear(linear, thread, "fc1", stream, tiles, put)
            self.multiply_a(linear, thread, "fc2", inner, tiles)
            self.layer_linear(
                linear, thread, "fc2", inner, tiles, self.add_to_x(first), before=self.fetch_x(first)
            )

    def connect(self) -> None:
        """The final layer norm, and the connector over squares of patches."""
        shape, groups = self.shape, self.shape.connector_width // GROUP
        squares = self.cells("square", i64(0), groups)
        across = shape.side // shape.shuffle  # squares on a side
        with phase(self.a["threads"]) as thread, self.blocks(i64(shape.tiles), thread) as (first, tiles):
            linear = self.linear(thread)
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
        rank = self.cells("square_rank", i64(0), self.a["rank_groups"])
        kind = shape.exact_type
        a_bytes = panel_bytes(GROUP, shape.connector_width, kind)
        b_base = bind(self.a["lora_base"] + self.a["rank_groups"] * a_bytes)
        with phase(self.a["threads"]) as thread:
            tiles = i64(shape.output_tiles)
            with when(thread == 0):
                linear = self.linear(thread)
                product = Product(self.a["lora"], self.a["lora_base"], groups, squares, kind)
                self.ranks(linear, product, rank, i64(1), tiles)
        with phase(self.a["threads"]) as thread:
            linear = self.linear(thread)
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
