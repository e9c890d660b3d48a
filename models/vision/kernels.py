"""The vision tower's kernels in TIR: convolutions over float32 [pixel, channel] maps of any size.

Sizes and offsets are run-time integers, so that seven functions serve all layers and compile in seconds. All maps
are in one buffer, `work`, and all weights in another; offsets count floats. Channels come in blocks of 16, one vector
each. Sums run in the same order on every machine, and machines with a fused multiply-add give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm.tirx.script import builder as tir

from models.compiler.cpu import KernelPath
from models.kernels.emit import (
    LANES,
    Emitter,
    Register,
    bind,
    f32,
    function,
    load,
    registers,
    splat,
    store,
    when,
)
from models.kernels.isa import MACHINES, Expr, Machine

DEPTHWISE_SHAPES = ((3, 1), (3, 2), (5, 1), (5, 2))
"""(kernel size, stride) of the depthwise convolutions that have a function."""

STEM_TAPS = 27
"""Inputs of one output of the stem: 3 rows x 3 columns x RGB."""

MEMORY = (("work", "float32"), ("weights", "float32"))
"""The last two arguments of every function. The signatures below write "..." for them."""


@dataclass(frozen=True)
class Tiles:
    """The numbers of outputs that a kernel accumulates in registers at once.

    pixels, blocks: pixels x channel blocks of a pointwise convolution and of the stem.
    columns: pixels of one channel block of a depthwise convolution.
    """

    pixels: int
    blocks: int
    columns: int


TILES: dict[KernelPath, Tiles] = {
    "avx512vnni": Tiles(10, 2, 5),
    "avxvnni": Tiles(6, 1, 3),
    "avx2": Tiles(6, 1, 3),
    "neon": Tiles(4, 1, 3),
    "generic": Tiles(2, 1, 2),
}
"""The fastest measured sizes; those for neon were not measured. Larger tiles do not fit into the registers."""


def tower_module(path: KernelPath) -> tvm.IRModule:
    """All functions of the tower (a builder for models.compiler.compile)."""
    machine = MACHINES[path]
    functions = {"stem": stem(machine), "pointwise": pointwise(machine), "average": average()}
    for kernel, stride in DEPTHWISE_SHAPES:
        functions[f"depthwise_{kernel}_{stride}"] = depthwise(machine, kernel, stride)
    return tvm.IRModule(functions)


def _relu6(value: Expr) -> Expr:
    return tir.min(tir.max(value, splat(f32(0.0))), splat(f32(6.0)))


def _ceil_div(value: Expr, by: Any) -> Expr:
    return tir.truncdiv(value + by - 1, by)


def pointwise(machine: Machine) -> Any:
    """A matrix product: y[p, n] = relu6?(bias[n] + sum over k of x[p, k] w[k, n] + residual[p, n]?).

    pointwise(pixels, inputs, stride, blocks, chunk, source, target, residual, relu, weights_at, bias_at, ...)
    x: [pixels, inputs] at source, rows `stride` apart, inputs divisible by 4. w: [blocks][inputs][16].
    y: [pixels, 16 blocks] at target. The last tile reads and overwrites rows beyond the last pixel (SLACK_ROWS).
    residual: the offset of a map of y's shape, or -1. relu: 1 or 0.
    chunk: pixels that one thread computes for one group of blocks, rounded up to whole tiles.
    """
    emit, shape = Emitter(machine), TILES[machine.path]
    rows, widest = shape.pixels, shape.blocks
    scalars = (
        "pixels", "inputs", "stride", "blocks", "chunk", "source", "target", "residual", "relu",
        "weights_at", "bias_at",
    )  # fmt: skip
    builder = function("pointwise", scalars, MEMORY)
    with builder as a:
        work, weights, inputs = a["work"], a["weights"], a["inputs"]
        count = bind(_ceil_div(a["pixels"], rows))
        groups = bind(_ceil_div(a["blocks"], widest))
        chunk = bind(_ceil_div(a["chunk"], rows))
        chunks = bind(_ceil_div(count, chunk))

        def tile(first: Expr, block: Expr, width: int) -> None:
            """Outputs of `rows` pixels from `first` on and `width` blocks from `block` on."""
            total = [[Register() for _ in range(width)] for _ in range(rows)]
            for j in range(width):
                bias = bind(load(weights, a["bias_at"] + (block + j) * LANES))
                for p in range(rows):
                    total[p][j].value = bias
            x = bind(a["source"] + first * a["stride"])
            w = [bind(a["weights_at"] + (block + j) * inputs * LANES) for j in range(width)]
            with tir.serial(tir.truncdiv(inputs, 4)) as quarter:
                for k in [bind(quarter * 4 + u) for u in range(4)]:
                    column = [bind(load(weights, w[j] + k * LANES)) for j in range(width)]
                    # rows x width sums: each weight vector serves all rows, each input value all blocks
                    for p in range(rows):
                        value = bind(splat(work[x + p * a["stride"] + k]))
                        for j in range(width):
                            total[p][j].value = emit.fma(value, column[j], total[p][j].value)
            at = [
                [(first + p) * a["blocks"] * LANES + (block + j) * LANES for j in range(width)]
                for p in range(rows)
            ]
            with when(a["residual"] >= 0):
                for p in range(rows):
                    for j in range(width):
                        total[p][j].value = total[p][j].value + load(work, a["residual"] + at[p][j])
            with when(a["relu"] > 0):
                for p in range(rows):
                    for j in range(width):
                        total[p][j].value = _relu6(total[p][j].value)
            for p in range(rows):
                for j in range(width):
                    store(work, a["target"] + at[p][j], total[p][j].value)

        with tir.parallel(chunks * groups) as item:
            block = bind(tir.truncmod(item, groups) * widest)
            begin = bind(tir.truncdiv(item, groups) * chunk)
            with tir.serial(begin, tir.min(begin + chunk, count)) as number:
                # the last group may have fewer blocks than a tile
                with when(block + widest <= a["blocks"]):
                    tile(bind(number * rows), block, widest)
                for width in range(1, widest):
                    with when(block + width == a["blocks"]):
                        tile(bind(number * rows), block, width)
    return builder.result


def stem(machine: Machine) -> Any:
    """stem(images, side, source, target, weights_at, bias_at, ...)

    The first convolution, 3x3 with stride 2, RGB to 32 channels, relu6. x: [images, 2 side + 1, 2 side + 1,
    3] at source (already padded). w: [2][27][16]. y: [images, side, side, 32]; side >= Tiles.pixels.
    """
    emit, shape = Emitter(machine), TILES[machine.path]
    columns, width = shape.pixels, shape.blocks
    builder = function("stem", ("images", "side", "source", "target", "weights_at", "bias_at"), MEMORY)
    with builder as a:
        work, weights, side = a["work"], a["weights"], a["side"]
        padded = bind(side * 2 + 1)

        def tile(line: Expr, x: Expr, first: Expr, block: int) -> None:
            """Outputs of `columns` columns from `first` on and `width` blocks. x: offset of the line's inputs."""
            total = [[Register() for _ in range(width)] for _ in range(columns)]
            for j in range(width):
                bias = bind(load(weights, a["bias_at"] + (block + j) * LANES))
                for p in range(columns):
                    total[p][j].value = bias
            with tir.serial(3) as kernel_row:
                for tap in range(9):
                    at = bind(a["weights_at"] + (block * STEM_TAPS + kernel_row * 9 + tap) * LANES)
                    column = [bind(load(weights, at + j * STEM_TAPS * LANES)) for j in range(width)]
                    for p in range(columns):
                        value = bind(splat(work[x + kernel_row * padded * 3 + (first + p) * 6 + tap]))
                        for j in range(width):
                            total[p][j].value = emit.fma(value, column[j], total[p][j].value)
            for p in range(columns):
                for j in range(width):
                    target = a["target"] + (line * side + first + p) * 32 + (block + j) * LANES
                    store(work, target, _relu6(total[p][j].value))

        with tir.parallel(a["images"] * side) as line:
            image, row = bind(tir.truncdiv(line, side)), bind(tir.truncmod(line, side))
            x = bind(a["source"] + (image * padded + row * 2) * padded * 3)
            with tir.serial(_ceil_div(side, columns)) as number:
                # The last tile overlaps the one before it.
                first = bind(tir.min(number * columns, side - columns))
                for block in range(0, 2, width):
                    tile(line, x, first, block)
    return builder.result


def depthwise(machine: Machine, kernel: int, stride: int) -> Any:
    """depthwise_K_S(images, side, outputs, before, blocks, source, target, weights_at, bias_at, ...)

    y[h, w, c] = relu6(bias[c] + sum over i, j of x[h S + i - before, w S + j - before, c] k[i, j, c]), where x is 0
    outside the map. x: [images, side, side, 16 blocks] at source, k: [K][K][16 blocks], y: [images, outputs, outputs,
    16 blocks] at target. before: rows and columns of padding above and left.
    """
    emit, columns = Emitter(machine), TILES[machine.path].columns
    builder = function(
        f"depthwise_{kernel}_{stride}",
        ("images", "side", "outputs", "before", "blocks", "source", "target", "weights_at", "bias_at"),
        MEMORY,
    )
    with builder as a:
        work, weights, side, outputs, before = a["work"], a["weights"], a["side"], a["outputs"], a["before"]
        channels = bind(a["blocks"] * LANES)
        # Columns inner_first .. inner_end - 1 have all taps inside the map, so they need no bounds.
        inner_first = bind(_ceil_div(before, stride))
        inner_end = bind(tir.truncdiv(side + before - kernel, stride) + 1)
        with tir.parallel(a["images"] * outputs) as line:
            image, row = bind(tir.truncdiv(line, outputs)), bind(tir.truncmod(line, outputs))
            top = bind(row * stride - before)
            taps_first = bind(tir.max(0 - top, tir.int64(0)))
            taps_end = bind(tir.min(side - top, tir.int64(kernel)))
            x = bind(a["source"] + (image * side + top) * side * channels)
            y = bind(a["target"] + line * outputs * channels)

            def inner(first: Expr) -> None:
                """`columns` outputs from `first` on, all channels. An input is loaded once for all outputs."""
                left = bind(x + (first * stride - before) * channels)
                with tir.serial(a["blocks"]) as block:
                    total = [Register() for _ in range(columns)]
                    bias = bind(load(weights, a["bias_at"] + block * LANES))
                    for register in total:
                        register.value = bias
                    with tir.serial(taps_first, taps_end) as i:
                        at = bind(left + i * side * channels + block * LANES)
                        w_at = bind(a["weights_at"] + i * kernel * channels + block * LANES)
                        w = [bind(load(weights, w_at + j * channels)) for j in range(kernel)]
                        for position in range((columns - 1) * stride + kernel):
                            value = bind(load(work, at + position * channels))
                            for p in range(columns):
                                if 0 <= position - p * stride < kernel:
                                    tap = w[position - p * stride]
                                    total[p].value = emit.fma(value, tap, total[p].value)
                    for p in range(columns):
                        store(work, y + (first + p) * channels + block * LANES, _relu6(total[p].value))

            def edge(column: Expr) -> None:
                """One output; taps outside the map are skipped, as their input is 0."""
                left = bind(column * stride - before)
                first, end = (
                    bind(tir.max(0 - left, tir.int64(0))),
                    bind(tir.min(side - left, tir.int64(kernel))),
                )
                with tir.serial(a["blocks"]) as block:
                    total = Register()
                    total.value = load(weights, a["bias_at"] + block * LANES)
                    with tir.serial(taps_first, taps_end) as i, tir.serial(first, end) as j:
                        value = load(work, x + (i * side + left + j) * channels + block * LANES)
                        tap = load(weights, a["weights_at"] + (i * kernel + j) * channels + block * LANES)
                        total.value = emit.fma(value, tap, total.value)
                    store(work, y + column * channels + block * LANES, _relu6(total.value))

            whole = bind(tir.truncdiv(inner_end - inner_first, columns))
            with tir.serial(inner_first) as column:
                edge(column)
            with tir.serial(whole) as number:
                inner(bind(inner_first + number * columns))
            with tir.serial(inner_first + whole * columns, outputs) as column:
                edge(column)
    return builder.result


def average() -> Any:
    """average(images, pixels, blocks, source, target, ...): the mean over the pixels of each image.

    x: [images, pixels, 16 blocks] at source. y: [images, 16 blocks] at target.
    """
    builder = function("average", ("images", "pixels", "blocks", "source", "target"), MEMORY)
    with builder as a:
        work, blocks = a["work"], a["blocks"]
        with tir.parallel(a["images"] * blocks) as item:
            image, block = bind(tir.truncdiv(item, blocks)), bind(tir.truncmod(item, blocks))
            (total,) = registers(1)
            with tir.serial(a["pixels"]) as pixel:
                at = a["source"] + ((image * a["pixels"] + pixel) * blocks + block) * LANES
                total.value = total.value + load(work, at)
            share = f32(1.0) / tir.cast(a["pixels"], "float32")
            store(work, a["target"] + item * LANES, total.value * splat(share))
    return builder.result
