"""The projector's kernel in TIR: features to probabilities of words, and those to mixtures of word embeddings.

One function serves all heads, because sizes and the rank of a LoRA are run-time integers.
"""

from __future__ import annotations

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
    max_lanes,
    registers,
    splat,
    store,
    sum_lanes,
    when,
)
from models.kernels.isa import MACHINES, Machine
from models.vision.projector.projector import HIDDEN_STEP

UNROLL = 4
"""Independent sums of a dot product. Feature lengths are multiples of UNROLL vectors, 64 floats."""


def projector_module(path: KernelPath) -> tvm.IRModule:
    """The function "project", for models.compiler.compile."""
    return tvm.IRModule({"project": project(MACHINES[path])})


def project(machine: Machine) -> Any:
    """project(length, blocks, rank, slots, hidden, and the buffers: feature to out, as below)

    z[w] = bias[w] + sum over k of weights[w, k] feature[k] + sum over r of b[r, w] (sum over k of a[r, k]
    feature[k]); shares = softmax(z); out[s, h] = sum over w of shares[w] table[rows[s, w], h].

    float32: feature [length], weights [blocks][length][16], bias [16 blocks], a [rank, length], b [rank, 16
    blocks], shares [16 blocks], table [any, hidden], out [slots, hidden]. int32: rows [slots, 16 blocks].
    middle: scratch, float32 [rank]. Words of padding need a bias of -1e30. length is a multiple of 64, hidden
    of 32. rank may be 0.
    """
    emit = Emitter(machine)
    buffers = (
        ("feature", "float32"), ("weights", "float32"), ("bias", "float32"), ("a", "float32"),
        ("b", "float32"), ("middle", "float32"), ("shares", "float32"), ("rows", "int32"),
        ("table", "float32"), ("out", "float32"),
    )  # fmt: skip
    builder = function("project", ("length", "blocks", "rank", "slots", "hidden"), buffers)
    with builder as given:
        length, blocks, rank, hidden = (given[name] for name in ("length", "blocks", "rank", "hidden"))
        feature, middle, shares = given["feature"], given["middle"], given["shares"]
        words = bind(blocks * LANES)
        # middle[r] = A[r, :] . feature, four vectors at a time
        with tir.serial(rank) as r:
            sums = registers(UNROLL)
            with tir.serial(tir.truncdiv(length, UNROLL * LANES)) as step:
                for u, total in enumerate(sums):
                    at = bind((step * UNROLL + u) * LANES)
                    row = load(given["a"], r * length + at)
                    total.value = emit.fma(row, load(feature, at), total.value)
            whole = (sums[0].value + sums[1].value) + (sums[2].value + sums[3].value)
            store(middle, r, sum_lanes(whole), 1)
        # z of 16 words in one register: weights are [block][length][16], so each feature value is broadcast
        with tir.parallel(blocks) as block:
            sums = registers(UNROLL)
            with tir.serial(tir.truncdiv(length, UNROLL)) as step:
                for u, total in enumerate(sums):
                    k = bind(step * UNROLL + u)
                    column = load(given["weights"], (block * length + k) * LANES)
                    total.value = emit.fma(splat(feature[k]), column, total.value)
            total = Register()
            total.value = (sums[0].value + sums[1].value) + (sums[2].value + sums[3].value)
            total.value = total.value + load(given["bias"], block * LANES)
            with tir.serial(rank) as r:
                column = load(given["b"], r * words + block * LANES)
                total.value = emit.fma(splat(middle[r]), column, total.value)
            store(shares, block * LANES, total.value)
        _softmax(emit, shares, blocks)
        # out[slot] = shares [words] @ table[rows[slot]] [words, hidden], 32 hidden values (two vectors) an item
        pairs = bind(tir.truncdiv(hidden, HIDDEN_STEP))
        with tir.parallel(given["slots"] * pairs) as item:
            slot, pair = bind(tir.truncdiv(item, pairs)), bind(tir.truncmod(item, pairs))
            mixed = registers(2)
            with tir.serial(words) as word:
                row = bind(tir.cast(given["rows"][slot * words + word], "int64"))
                at = bind(row * hidden + pair * HIDDEN_STEP)
                for j, total in enumerate(mixed):
                    part = load(given["table"], at + j * LANES)
                    total.value = emit.fma(splat(shares[word]), part, total.value)
            for j, total in enumerate(mixed):
                store(given["out"], slot * hidden + pair * HIDDEN_STEP + j * LANES, total.value)
    return builder.result


def _softmax(emit: Emitter, values: Any, blocks: Any) -> None:
    """softmax in place over values [16 * blocks]. The maximum is subtracted first, so that exp cannot overflow."""
    with when(blocks > 0):
        top = Register()
        top.value = splat(f32(-3.0e38))
        with tir.serial(blocks) as block:
            top.value = tir.max(top.value, load(values, block * LANES))
        largest = bind(splat(max_lanes(top.value)))
        (total,) = registers(1)
        with tir.serial(blocks) as block:
            share = bind(emit.exp(load(values, block * LANES) - largest))
            store(values, block * LANES, share)
            total.value = total.value + share
        scale = bind(splat(f32(1.0) / sum_lanes(total.value)))
        with tir.serial(blocks) as block:
            store(values, block * LANES, load(values, block * LANES) * scale)
