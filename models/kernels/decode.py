"""llama_decode: one token through the whole model, every phase shared by all threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm.tirx.script import builder as tir

from models.kernels.arguments import CHUNK
from models.kernels.attention import ChunkStore
from models.kernels.emit import bind, i64, load, phase, share, store, when
from models.kernels.isa import Expr
from models.kernels.linear.weight_tiles import GROUP, ONE_ROW, Activations
from models.kernels.model import LlamaWriter
from models.packing.lora_layout import SITES


class Decode(LlamaWriter):
    """Emits the body of llama_decode.

    The thread that computes a group of 32 values also finishes it: it quantises the group, sums its squares and
    multiplies it with A. A layer has six phases: q, k and v; attention by chunks; their combination; o; gate and up;
    down.
    """

    def write(self) -> None:
        """Emit the function's body."""
        shape = self.shape
        groups = i64(shape.hidden // GROUP)
        with phase(self.threads) as thread:
            with share(groups, thread, self.threads) as group:
                self.embed(self.a["token"], group, i64(0))
                self._finish_stream("qkv", i64(0), group)
            self._multiply_a("qkv", i64(0), thread)
        with tir.serial(i64(shape.layers)) as layer:
            self._project_qkv(layer)
            self._attend(layer)
            self._combine(layer)
            self._add_to_stream("o", layer, "gate_up", layer)
            self._gate_up(layer)
            following = bind(tir.min(layer + 1, i64(shape.layers - 1)))
            self._add_to_stream("down", layer, "qkv", following)
        self.write_head(i64(0))

    def _finish_stream(self, site: str, norm: Expr, group: Expr) -> None:
        """Quantise a group of x for the site that reads it next, and sum its squares. norm: number of the norm."""
        self._finish(site, group, lambda _: self.pair("x", group * GROUP), self.norm(norm))

    def _finish(
        self, site: str, group: Expr, source: Callable[[Expr], tuple[Expr, Expr]], norm: Expr | None
    ) -> None:
        """Quantise a group for a site. source, norm: see Linear.finish_group."""
        self.linear.finish_group(self.sites[site], ONE_ROW, group, source, norm, None, None)

    def _multiply_a(self, site: str, layer: Expr, thread: Expr) -> None:
        """A x of the thread's groups of a site, behind the loop that quantises them.

        Quantising is a chain of some hundred cycles; between products it would keep them from following one another.
        """
        activations = self.sites[site]
        with when(self.a["rank_tiles"] > 0):
            base, groups = self.a_base(site, layer), i64(activations.groups)
            first = bind(tir.truncdiv(thread * groups, self.threads))
            with share(groups, thread, self.threads) as group:
                self.linear.multiply_a(
                    activations,
                    ONE_ROW,
                    group,
                    base,
                    lambda _, chunk, value: self.linear.add_to_rank(activations, first, group, chunk, value),
                )

    def _totals(self, site: str, thread: Expr) -> Expr:
        """Sum A x over the groups and quantise it. Every thread does so for itself. Returns the offset of its copy."""
        activations = self.sites[site]
        # A multiple of 16 numbers of 4 bytes, so that no two threads write to the same cache line.
        offset = bind(thread * (tir.truncdiv(self.a["rank_tiles"] * activations.parts + 15, i64(16)) * 16))
        self.linear.sum_ranks(activations, offset, self.threads)
        return offset

    def _project_qkv(self, layer: Expr) -> None:
        """qkv = [q, k, v] of the row, before the rotary embedding."""
        stream = self.sites["qkv"]
        with phase(self.threads) as thread:
            total = self._totals("qkv", thread)
            inverse = self.linear.inverse_rms(stream, i64(0))
            starts = self._starts(SITES["qkv"])
            with when(self.a["rank_tiles"] > 0):
                for role, loop in self.blocks(SITES["qkv"], thread):
                    with loop as block:
                        self._adapt(role, layer, block, stream, total, "qkv", starts[role])
            for role, loop in self.blocks(SITES["qkv"], thread):
                with loop as block:
                    self._store_block(role, layer, block, stream, total, inverse, "qkv", starts[role])

    def _store_block(
        self,
        role: str,
        layer: Expr,
        block: Expr,
        activations: Activations,
        total: Expr,
        inverse: Expr,
        out: str,
        start: int,
    ) -> None:
        """Store (W a + B (A a)) / rms of a block of 16 outputs of a role, the adapter's term being stored there."""
        place = bind(block * 16 + start)
        (values,) = self.linear.block(
            role, layer, block, activations, ONE_ROW, lambda _: total, lambda _: inverse, (self.a[out], place)
        )
        store(self.a[out], place, values)

    def _starts(self, roles: Sequence[str]) -> dict[str, int]:
        """Where the outputs of each role start when those of all roles follow one another."""
        sizes = [self.shape.matrix(role)[0] for role in roles]
        return {role: sum(sizes[:number]) for number, role in enumerate(roles)}

    def _adapt(
        self, role: str, layer: Expr, block: Expr, activations: Activations, total: Expr, out: str, start: int
    ) -> None:
        """Store B (A x) of a block of 16 outputs, for the linear layer to add.

        A thread does so for all of its blocks before it computes the first one: a tile of B takes few instructions,
        which would wait for one another between the long loops over weights.
        """
        (term,) = self.linear.adapter_term(role, layer, block, activations, ONE_ROW, lambda _: total)
        store(self.a[out], block * 16 + start, term.value)

    def _attend(self, layer: Expr) -> None:
        """Attention over single chunks. A work item is one chunk of one kv head, for all query heads of that head."""
        shape, position = self.shape, self.a["position"]
        per_kv = shape.heads // shape.kv_heads
        chunks = bind(tir.truncdiv(position, CHUNK) + 1)
        scale = shape.head_dim**-0.5
        with self.shared(chunks * shape.kv_heads) as (thread, item):
            kv_head, chunk = bind(tir.truncdiv(item, chunks)), bind(tir.truncmod(item, chunks))
            with when(chunk == chunks - 1):  # the chunk of this position: its item alone reads the new key
                self.attention.store_key_value(layer, kv_head, position, i64(0), thread)
            cache = bind(self.attention.cache_base(layer, kv_head))
            values = bind(cache + chunk * (CHUNK * shape.head_dim))
            keys = bind(self._keys(layer, item + 1, chunks))
            for first in range(0, per_kv, 4):  # 4 query heads share each key and value that is loaded
                heads = range(first, min(first + 4, per_kv))
                queries, scores, stores = [], [], []
                for number in heads:
                    head = bind(kv_head * per_kv + number)
                    query = bind((thread * per_kv + number) * shape.head_dim)

                    def put(first: Expr, vector: Expr, lanes: int, query: Expr = query) -> None:
                        store(self.a["queries"], query + first, vector, lanes)

                    self.attention.rotate(head * shape.head_dim, position, scale, put)
                    queries.append(query)
                    scores.append(bind((thread * per_kv + number) * CHUNK))
                    stores.append(self._store(head))
                last = [position] * len(heads)
                blocks, vectors = self.machine.attention_blocks, self.machine.attention_vectors
                final = first + 4 >= per_kv
                self.attention.chunk_scores(
                    cache, chunk, queries, last, position, scores, stores, blocks, None if first else values
                )
                self.attention.chunk_values(
                    cache, chunk, position, scores, stores, vectors, keys if final else None
                )

    def _keys(self, layer: Expr, item: Expr, chunks: Expr) -> Expr:
        """Offset of the keys of a work item of attention; that of no keys for the one after the last."""
        kv_head, chunk = bind(tir.truncdiv(item, chunks)), bind(tir.truncmod(item, chunks))
        return self.attention.cache_base(layer, kv_head) + chunk * (CHUNK * self.shape.head_dim)

    def _store(self, head: Expr) -> ChunkStore:
        stride = bind(self.attention.chunk_stride())
        return ChunkStore(bind(head * stride), bind(head * stride * self.shape.head_dim))

    def _combine(self, layer: Expr) -> None:
        """Combine the chunks into the heads' outputs, a group of 32 values at a time, finished for o."""
        dim, position = self.shape.head_dim, self.a["position"]
        chunks = bind(tir.truncdiv(position, CHUNK) + 1)
        activations = self.sites["o"]
        with phase(self.threads) as thread:
            with share(i64(activations.groups), thread, self.threads) as group:
                weights = bind(thread * self.attention.chunk_stride())
                # The two vectors of a group are of the same head unless head_dim is an odd multiple of 16.
                together = 2 if dim % GROUP == 0 else 1
                vectors: list[Expr] = []
                for half in range(0, 2, together):
                    first = bind(group * GROUP + 16 * half)
                    head, inner = bind(tir.truncdiv(first, dim)), bind(tir.truncmod(first, dim))
                    dims = [inner + 16 * number for number in range(together)]
                    vectors += self.attention.combine(self._store(head), chunks, weights, dims)
                self._finish("o", group, lambda _: (vectors[0], vectors[1]), None)
            self._multiply_a("o", layer, thread)

    def _add_to_stream(self, site: str, layer: Expr, following: str, following_layer: Expr) -> None:
        """x += W a + B (A a) for the site's activations a, finished for the site that follows."""
        activations, x = self.sites[site], self.a["x"]
        (role,) = SITES[site]
        with phase(self.threads) as thread:
            total = self._totals(site, thread)
            groups = i64(self.shape.hidden // GROUP)
            with when(self.a["rank_tiles"] > 0), share(groups, thread, self.threads) as group:
                for half in range(2):
                    self._adapt(role, layer, bind(group * 2 + half), activations, total, "gated", 0)
            with share(groups, thread, self.threads) as group, tir.serial(i64(2)) as half:
                block = bind(group * 2 + half)
                (values,) = self.linear.block(
                    role,
                    layer,
                    block,
                    activations,
                    ONE_ROW,
                    lambda _: total,
                    None,
                    (self.a["gated"], block * 16),
                )
                store(x, block * 16, load(x, block * 16) + values)
            # After the last layer the norm is the final one, and A x is computed but not used.
            norm = layer * 2 + (1 if following == "gate_up" else 2)
            with share(groups, thread, self.threads) as group:
                self._finish_stream(following, norm, group)
            self._multiply_a(following, following_layer, thread)

    def _gate_up(self, layer: Expr) -> None:
        """silu(gate) * up, a group of 32 values at a time, finished for down."""
        stream, inner = self.sites["gate_up"], self.sites["down"]
        with phase(self.threads) as thread:
            total = self._totals("gate_up", thread)
            inverse = self.linear.inverse_rms(stream, i64(0))
            groups, starts = i64(inner.groups), self._starts(SITES["gate_up"])
            with when(self.a["rank_tiles"] > 0):
                for role in SITES["gate_up"]:
                    with share(groups, thread, self.threads) as group, tir.serial(i64(2)) as half:
                        block = bind(group * 2 + half)
                        self._adapt(role, layer, block, stream, total, "gated", starts[role])
            for role in SITES["gate_up"]:
                with share(groups, thread, self.threads) as group, tir.serial(i64(2)) as half:
                    block = bind(group * 2 + half)
                    self._store_block(role, layer, block, stream, total, inverse, "gated", starts[role])
            with share(groups, thread, self.threads) as group:
                place = bind(group * GROUP)
                gates, ups = self.pair("gated", place), self.pair("gated", place + starts["up"])
                self._finish(
                    "down",
                    group,
                    lambda _: (self.gated(gates[0], ups[0]), self.gated(gates[1], ups[1])),
                    None,
                )
            self._multiply_a("down", layer, thread)
