"""The parts that prefill and decode of a Llama share: embedding, activations by site, gate, the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.attention import Attention
from models.kernels.emit import Emitter, bind, f32, i64, load, phase, share, splat, store, when
from models.kernels.isa import Expr, Machine
from models.kernels.linear.float_linear import FloatLinear
from models.kernels.linear.linear import Linear
from models.kernels.linear.weight_tiles import GROUP, ONE_ROW, Activations
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import SITES, LoraLayout
from models.packing.tiles import TILE_BYTES

# The set of activations that each site reads. q, k, v and gate, up read the residual stream at different times.
_SITE_SETS = {"qkv": "stream", "o": "attention", "gate_up": "stream", "down": "inner"}


class LlamaWriter:
    """Base of Prefill and Decode. a: the function's arguments by name."""

    def __init__(self, machine: Machine, shape: LlamaShape, a: dict[str, Any]) -> None:
        self.e = Emitter(machine)
        self.machine = machine
        self.shape = shape
        self.a = a
        self.threads = a["threads"]
        self.linear = (Linear if shape.float_type is None else FloatLinear)(self.e, shape, a)
        self.attention = Attention(self.e, shape, a)
        self.layout = LoraLayout(shape)
        self.sites = {site: self._activations(site) for site in SITES}

    def _activations(self, site: str) -> Activations:
        prefix = _SITE_SETS[site] + "_"
        buffers = {name.removeprefix(prefix): b for name, b in self.a.items() if name.startswith(prefix)}
        inputs = self.shape.matrix(SITES[site][0])[1]
        return Activations(site, inputs, _SITE_SETS[site] == "stream", self.shape.planes, buffers)

    def a_base(self, site: str, layer: Expr) -> Expr:
        """Offset of a site's A in "lora"."""
        return bind((layer * self.layout.layer_size() + self.layout.a_offset(site)) * self.a["rank_tiles"])

    def norm(self, number: Expr) -> Expr:
        """Offset of a norm's weights. number: 2 * layer (attention), 2 * layer + 1 (MLP), 2 * layers (final)."""
        return bind(number * self.shape.hidden)

    def embed(self, token: Expr, group: Expr, out: Expr) -> None:
        """Store 32 values of a token's embedding, or of image row -token - 1, at x[out + 32 * group:]."""
        x = self.a["x"]
        with when(token >= 0):
            if isinstance(self.linear, FloatLinear):
                self.linear.copy_embedding(token, group, out)
            else:
                self._embed_codes(token, group, out)
        with when(token < 0):
            source = bind((i64(0) - token - 1) * self.shape.hidden + group * GROUP)
            for vector in range(2):
                store(x, out + group * GROUP + 16 * vector, load(self.a["image_rows"], source + 16 * vector))

    def _embed_codes(self, token: Expr, group: Expr, out: Expr) -> None:
        """Store 32 values of a token's embedding, whose tables have 8 bits, at x[out + 32 * group:]."""
        tables = self.shape.tables
        # The token is row `lane` of an 8-bit tile: 8 chunks with 4 codes each, then its float16 scale.
        tile = bind((tir.truncdiv(token, 16) * (self.shape.hidden // GROUP) + group) * TILE_BYTES[8])
        lane = bind(tir.truncmod(token, 16))
        scales = [self._row_scale(table, tile, lane) for table in tables]
        for vector in range(2):
            values = []
            for table, scale in zip(tables, scales, strict=True):
                place = tile + vector * 256 + lane * 4
                words = [load(self.a[table], place + chunk * 64, 4) for chunk in range(4)]
                codes = tir.cast(tir.Shuffle(words, list(range(16))), "float32x16")
                values.append((codes - splat(f32(128.0))) * scale)
            store(self.a["x"], out + group * GROUP + 16 * vector, sum(values[1:], values[0]))

    def _row_scale(self, table: str, tile: Expr, lane: Expr) -> Expr:
        """The scale of a row of an 8-bit tile, in all lanes of a vector."""
        bits = bind(tir.reinterpret(load(self.a[table], tile + 512 + lane * 2, 2), dtype="uint16"))
        half = self.e.from_half(splat(bits))
        return bind(splat(tir.Shuffle([half], [0])))

    def gated(self, gate: Expr, up: Expr) -> Expr:
        """silu(gate) * up, with silu(v) = v * sigmoid(v)."""
        return bind(up * (gate * self.e.sigmoid(gate)))

    def blocks(self, roles: Sequence[str], thread: Expr) -> Iterator[tuple[str, Any]]:
        """For each role, the loop over the thread's share of its blocks of 16 outputs.

        The blocks of all roles form one range, which is divided among the threads, so that the threads have equal work
        although the roles differ in size. Use: `for role, loop in ...: with loop as block`.
        """
        counts = [self.shape.matrix(role)[0] // 16 for role in roles]
        whole = i64(sum(counts))
        first = bind(tir.truncdiv(thread * whole, self.threads))
        end = bind(tir.truncdiv((thread + 1) * whole, self.threads))
        start = 0
        for role, count in zip(roles, counts, strict=True):
            low = bind(tir.min(tir.max(first - start, i64(0)), i64(count)))
            high = bind(tir.min(tir.max(end - start, i64(0)), i64(count)))
            yield role, tir.serial(low, high)
            start += count

    @contextmanager
    def shared(self, count: Any) -> Iterator[tuple[Expr, Expr]]:
        """A phase in which the threads share 0 .. count - 1. Yields (thread, index)."""
        with phase(self.threads) as thread, share(i64(count), thread, self.threads) as index:
            yield thread, index

    def write_head(self, row: Expr) -> None:
        """Compute "logits" and "hidden" of x[row]. It is quantised into the first row of the stream's activations."""
        stream, hidden = self.sites["qkv"], self.shape.hidden
        final = 2 * self.shape.layers * hidden
        with self.shared(stream.groups) as (_, group):
            base = bind(row * hidden + group * GROUP)
            self.linear.finish_group(
                stream,
                ONE_ROW,
                group,
                lambda _: self.pair("x", base),
                i64(final),
                None,
                None,
            )
        with phase(self.threads) as thread:
            inverse = self.linear.inverse_rms(stream, i64(0))
            bits = self.shape.head_bits or self.shape.table_bits
            weights = self.a["head"] if self.shape.head_bits else self.a["embedding"]
            with share(i64(self.shape.padded_vocab // 16), thread, self.threads) as block:
                base = bind(block * (stream.groups * self.shape.tile_bytes[bits]))
                (total,) = self.linear.tiles(weights, base, bits, stream, ONE_ROW)
                store(self.a["logits"], block * 16, total.value * splat(inverse))
            # hidden = x / rms * weights, in float32, without quantisation
            with when(thread == 0), tir.serial(i64(hidden // 16)) as vector:
                value = load(self.a["x"], row * hidden + vector * 16) * load(
                    self.a["norms"], final + vector * 16
                )
                store(self.a["hidden"], vector * 16, value * splat(inverse))

    def pair(self, buffer: str, offset: Expr) -> tuple[Expr, Expr]:
        """The two vectors of a group of 32 values."""
        return load(self.a[buffer], offset), load(self.a[buffer], offset + 16)
