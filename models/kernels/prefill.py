"""llama_prefill: many rows through the whole model, in tiles of rows that share each weight they load."""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder as tir

from models.kernels.arguments import CHUNK
from models.kernels.attention import ChunkStore
from models.kernels.emit import bind, i64, load, phase, store
from models.kernels.isa import Expr
from models.kernels.linear.weight_tiles import GROUP, Rows
from models.kernels.model import LlamaWriter
from models.packing.lora_layout import SITES


class Prefill(LlamaWriter):
    """Emits the body of llama_prefill.

    The threads share linear layers by blocks of 16 outputs, and row-wise steps by tiles of rows. The last tile may have
    rows beyond `rows`. They are computed from undefined values, and reach neither the caches nor the logits.
    """

    def write(self) -> None:
        """Emit the function's body."""
        shape, count = self.shape, self.machine.tile_rows
        self.tiles = bind(tir.truncdiv(self.a["rows"] + (count - 1), count))
        with self.shared(self.tiles) as (_, tile):
            rows = Rows(count, tile)
            with tir.serial(i64(count)) as row:
                token = bind(i64(self.a["tokens"][rows.index(row)]))
                with tir.serial(i64(shape.hidden // GROUP)) as group:
                    self.embed(token, group, rows.index(row) * shape.hidden)
            self._finish("qkv", rows, i64(0), self.norm(i64(0)))
        with tir.serial(i64(shape.layers)) as layer:
            self._project("qkv", layer)
            self._store_keys(layer)
            self._attend(layer)
            with self.shared(self.tiles) as (_, tile):
                self._finish("o", Rows(count, tile), layer, None)
            self._project("o", layer)
            with self.shared(self.tiles) as (_, tile):
                self._finish("gate_up", Rows(count, tile), layer, self.norm(layer * 2 + 1))
            self._gate_up(layer)
            with self.shared(self.tiles) as (_, tile):
                self._finish("down", Rows(count, tile), layer, None)
            self._project("down", layer)
            following = bind(tir.min(layer + 1, i64(shape.layers - 1)))
            with self.shared(self.tiles) as (_, tile):
                self._finish("qkv", Rows(count, tile), following, self.norm(layer * 2 + 2))
        self.write_head(self.a["rows"] - 1)

    def _finish(self, site: str, rows: Rows, layer: Expr, norm: Expr | None) -> None:
        """Finish all groups of a tile's rows for the site's linear layers, with A x and 1 / rms."""
        source = {"o": "attended", "down": "gated"}.get(site, "x")
        activations = self.sites[site]
        a_base = self.a_base(site, layer)
        totals = [self._total(site, rows, row) for row in range(rows.count)]
        for total in totals:
            self.linear.clear_totals(activations, total)
        with tir.serial(i64(activations.groups)) as group:
            self.linear.finish_group(
                activations,
                rows,
                group,
                lambda row: self.pair(source, rows.index(row) * activations.width + group * GROUP),
                norm,
                a_base,
                lambda row, chunk, value: self.linear.add_to_total(
                    activations, group, totals[row] + chunk, value
                ),
            )
        for total in totals:
            self.linear.finish_totals(activations, total)
        if norm is not None:
            with tir.serial(i64(rows.count)) as row:
                index = bind(rows.index(row))
                store(activations.inverse, index, self.linear.inverse_rms(activations, index), 1)

    def _total(self, site: str, rows: Rows, row: int) -> Expr:
        """Offset of a row's A x in rank_scales, and / 32 in totals."""
        return bind(rows.index(row) * self.a["rank_tiles"] * self.sites[site].parts)

    def _block(self, role: str, site: str, layer: Expr, block: Expr, rows: Rows) -> list[Expr]:
        """16 outputs of a role for each row of a tile."""
        activations = self.sites[site]
        totals = [self._total(site, rows, row) for row in range(rows.count)]
        inverse = (lambda row: activations.inverse[rows.index(row)]) if activations.normed else None
        return self.linear.block(role, layer, block, activations, rows, lambda row: totals[row], inverse)

    def _project(self, site: str, layer: Expr) -> None:
        """qkv = [q, k, v] of every row; x += the outputs of o or down."""
        roles = SITES[site]
        target = self.a["qkv" if site == "qkv" else "x"]
        width = sum(self.shape.matrix(role)[0] for role in roles)
        with phase(self.threads) as thread:
            start = 0
            for role, loop in self.blocks(roles, thread):
                with loop as block, tir.serial(self.tiles) as tile:
                    rows = Rows(self.machine.tile_rows, tile)
                    for row, values in enumerate(self._block(role, site, layer, block, rows)):
                        place = bind(rows.index(row) * width + start + block * 16)
                        store(target, place, values if site == "qkv" else load(target, place) + values)
                start += self.shape.matrix(role)[0]

    def _gate_up(self, layer: Expr) -> None:
        """gated = silu(gate) * up of every row."""
        with self.shared(self.shape.intermediate // 16) as (_, block), tir.serial(self.tiles) as tile:
            rows = Rows(self.machine.tile_rows, tile)
            gates = self._block("gate", "gate_up", layer, block, rows)
            ups = self._block("up", "gate_up", layer, block, rows)
            for row, (gate, up) in enumerate(zip(gates, ups, strict=True)):
                place = rows.index(row) * self.shape.intermediate + block * 16
                store(self.a["gated"], place, self.gated(gate, up))

    def _store_keys(self, layer: Expr) -> None:
        """Store keys and values in the cache, and the queries, rotated and divided by sqrt(head_dim), in "queries"."""
        shape = self.shape
        with self.shared(self.a["rows"]) as (thread, row):
            position = bind(self.a["position"] + row)
            base = bind(row * self.attention.qkv_width)
            with tir.serial(i64(shape.kv_heads)) as kv_head:
                self.attention.store_key_value(layer, kv_head, position, base, thread)
            with tir.serial(i64(shape.heads)) as head:
                query = bind(row * shape.attention_width + head * shape.head_dim)

                def put(first: Expr, vector: Expr, lanes: int, query: Expr = query) -> None:
                    store(self.a["queries"], query + first, vector, lanes)

                self.attention.rotate(base + head * shape.head_dim, position, shape.head_dim**-0.5, put)

    def _attend(self, layer: Expr) -> None:
        """Attention of tiles of one head's queries.

        Later tiles attend to more positions, so the threads take tiles in turn.
        """
        count, heads = self.machine.attention_rows, self.shape.heads
        with phase(self.threads) as thread:
            items = bind(tir.truncdiv(self.a["rows"] + (count - 1), count) * heads)
            turns = bind(tir.truncdiv(items - thread + (self.threads - 1), self.threads))
            with tir.serial(turns) as turn:
                item = bind(turn * self.threads + thread)
                first = bind(tir.truncdiv(item, heads) * count)
                self._attend_tile(layer, bind(tir.truncmod(item, heads)), first, count, thread)

    def _attend_tile(self, layer: Expr, head: Expr, first: Expr, count: int, thread: Expr) -> None:
        """Attention of rows first .. first + count - 1 of one head, chunk by chunk, into "attended"."""
        shape, attention = self.shape, self.attention
        kv_head = bind(tir.truncdiv(head, shape.heads // shape.kv_heads))
        cache = bind(attention.cache_base(layer, kv_head))
        rows = [bind(first + row) for row in range(count)]
        stride = bind(attention.chunk_stride())
        slots = [bind(thread * count + row) for row in range(count)]
        stores = [ChunkStore(bind(slot * stride), bind(slot * stride * shape.head_dim)) for slot in slots]
        scores = [bind(slot * CHUNK) for slot in slots]
        queries = [bind(row * shape.attention_width + head * shape.head_dim) for row in rows]
        last = [bind(self.a["position"] + row) for row in rows]
        # The last position that any row of the tile attends to.
        reach = bind(self.a["position"] + tir.min(first + count, self.a["rows"]) - 1)
        chunks = bind(tir.truncdiv(reach, CHUNK) + 1)
        with tir.serial(chunks) as chunk:
            attention.chunk_scores(cache, chunk, queries, last, reach, scores, stores, 1)
            attention.chunk_values(
                cache, chunk, reach, scores, stores, max(1, self.machine.attention_vectors // 2)
            )
        weights = bind(thread * stride)
        with tir.serial(i64(count)) as number:
            row, slot = first + number, bind(thread * count + number)
            place = ChunkStore(bind(slot * stride), bind(slot * stride * shape.head_dim))
            for start in range(0, attention.vectors, 4):
                dims = [16 * vector for vector in range(start, min(start + 4, attention.vectors))]
                for dim, vector in zip(dims, self._combined(place, chunks, weights, dims), strict=True):
                    out = row * shape.attention_width + head * shape.head_dim + dim
                    store(self.a["attended"], out, vector)

    def _combined(self, place: ChunkStore, chunks: Expr, weights: Expr, dims: list[int]) -> list[Any]:
        return self.attention.combine(place, chunks, weights, [i64(dim) for dim in dims])
