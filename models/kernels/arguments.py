"""The arguments of the Llama functions: names, types, order and sizes. Must not import the compiler.

A call passes the function's scalars, then one flat tensor for every entry of buffer_types(), in that order:

    weights          uint8 tiles (models/packing/tiles.py); "norms" is float32 [2 layers + 1, hidden]
    rope             float32 [context, head_dim]: the cosines of a position's head_dim / 2 angles, then their sines
    keys             uint16 (float16 bits) [layer, kv head, position / 16, head_dim, 16]
    cached_values    uint16 (float16 bits) [layer, kv head, position, head_dim]
    lora             uint8 [LoraLayout.size(rank, factored)]; not read when rank_tiles is 0
    tokens           int32 [rows], prefill only: a token id, or -1 - i for row i of image_rows
    image_rows       float32 [image rows, hidden]
    logits           float32 [padded vocab], of the last row
    hidden           float32 [hidden], the last row after the final norm
    x                float32 [rows, hidden], the residual stream
    qkv              float32 [rows, q, k and v], before the rotary embedding
    queries          float32 [rows, attention width], rotated and divided by sqrt(head_dim); in decode [thread][query
                     heads of a kv head][head_dim]
    rotated          float32 [thread][head_dim], a key on its way to the cache
    attended         float32 [rows, attention width]
    gated            float32 [rows, intermediate], silu(gate) * up; in decode gate and up themselves
    scores           float32 [thread][row, or query head of a kv head][CHUNK], weights of a chunk
    chunk_peaks, chunk_masses, chunk_sums
                     float32 [slot][chunk], and [slot][chunk][head_dim] for the sums (models/kernels/attention.py). A
                     slot is a query head in decode, and a row of a thread's tile in prefill
    chunk_weights    float32 [thread][chunk]
    {set}_{field}    the fields of models/kernels/linear/weight_tiles.py, Activations, for each of ACTIVATION_SETS

From x on they are scratch memory (scratch_sizes). Decode computes one row.

Scalars are int32. rows: of the prompt. token: as in tokens. position: of the first row in the KV cache. context: the
positions that the caches have. rank_tiles: padded LoRA rank / 16, 0 without an adapter. factored: 1 when "lora" has
the factors of a DoRA, else 0. threads: that work.
"""

from __future__ import annotations

from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import MAX_RANK
from models.packing.tiles import TILE_INPUTS

PREFILL_SCALARS = ("rows", "position", "context", "rank_tiles", "factored", "threads")
DECODE_SCALARS = ("token", "position", "context", "rank_tiles", "factored", "threads")
CHUNK = 64  # positions of one step of attention
TILE_ROWS_LIMIT = 8  # the largest tile of rows of any instruction set

WEIGHTS = ("embedding", "embedding_rest", "q", "k", "v", "o", "gate", "up", "down", "head", "norms")
# Activations of linear layers, quantised or as floats: of the residual stream (for q, k, v, gate, up and the head), of
# the attention's output (for o) and of the MLP's inner values (for down). Their fields are described in
# models/kernels/linear/weight_tiles.py, Activations, and in models/kernels/linear/float_linear.py.
ACTIVATION_SETS = ("stream", "attention", "inner")


def buffer_types(shape: LlamaShape) -> dict[str, str]:
    """Element type of every tensor argument, in the order of a call.

    There is no "head" when it is tied, and no "embedding_rest" when the embedding has 8 bits.
    """
    lacking = {"embedding_rest"} - set(shape.tables) | (set() if shape.head_bits else {"head"})
    weights = {name: "uint8" for name in WEIGHTS if name not in lacking}
    types = weights | {
        "norms": "float32",
        "rope": "float32",
        "keys": "uint16",
        "cached_values": "uint16",
        "lora": "uint8",
        "tokens": "int32",
        "image_rows": "float32",
    }
    return types | scratch_types(shape)


def scratch_types(shape: LlamaShape) -> dict[str, str]:
    """Element type of every buffer that the caller allocates and the functions fill."""
    types = {"logits": "float32", "hidden": "float32", "x": "float32", "qkv": "float32", "queries": "float32"}
    types |= {"rotated": "float32", "attended": "float32", "gated": "float32"}
    types |= dict.fromkeys(
        ("scores", "chunk_peaks", "chunk_masses", "chunk_sums", "chunk_weights"), "float32"
    )
    for name in ACTIVATION_SETS:
        types |= {f"{name}_ranks": "float32", f"{name}_totals": "float32"}
        if shape.float_type is not None:
            types |= {f"{name}_values": "float32", f"{name}_rank_values": "float32"}
            continue
        types |= {f"{name}_codes": "int32", f"{name}_scales": "float32", f"{name}_sums": "float32"}
        types |= {f"{name}_offsets": "int32", f"{name}_offsets_of_4": "int32"}
        types |= {f"{name}_rank_codes": "int32", f"{name}_rank_scales": "float32"}
        types |= {f"{name}_rank_offsets": "int32"}
    return types | {"stream_squares": "float32", "stream_inverse": "float32"}


def scratch_sizes(shape: LlamaShape, max_rows: int, context: int, threads: int) -> dict[str, int]:
    """Elements of every buffer in scratch_types(), for calls of llama_prefill with up to max_rows rows."""
    rows = -(-max_rows // TILE_ROWS_LIMIT) * TILE_ROWS_LIMIT  # the last tile is computed whole
    heads_per_kv = shape.heads // shape.kv_heads
    chunks = -(-context // (16 * CHUNK)) * 16  # rounded up to 16, so that vectors of 16 chunks can be loaded
    # One for each (row, head) whose chunks are stored at a time.
    slots = max(shape.heads, threads * TILE_ROWS_LIMIT)
    sizes = {
        # The larger of what prefill and decode need:
        "logits": shape.padded_vocab,
        "hidden": shape.hidden,
        "x": rows * shape.hidden,
        "qkv": rows * (shape.attention_width + 2 * shape.kv_width),
        "queries": max(rows * shape.attention_width, threads * heads_per_kv * shape.head_dim),
        "rotated": threads * shape.head_dim,
        "attended": rows * shape.attention_width,
        "gated": rows * shape.intermediate,
        "scores": threads * max(TILE_ROWS_LIMIT, heads_per_kv) * CHUNK,
        "chunk_peaks": slots * chunks,
        "chunk_masses": slots * chunks,
        "chunk_sums": slots * chunks * shape.head_dim,
        "chunk_weights": threads * chunks,
    }
    widths = {"stream": shape.hidden, "attention": shape.attention_width, "inner": shape.intermediate}
    parts = {"stream": 3, "attention": 1, "inner": 1}  # linear layers that read a set: q, k, v are three
    for name, width in widths.items():
        groups = width // TILE_INPUTS
        cells = rows * groups * shape.planes  # a cell is one group of 32 values of one row
        ranks = max(rows, 2 * threads) * parts[name] * MAX_RANK  # decode pads the copy of a thread
        sizes |= {f"{name}_ranks": groups * parts[name] * MAX_RANK, f"{name}_totals": 2 * ranks}
        if shape.float_type is not None:
            sizes |= {f"{name}_values": cells * TILE_INPUTS, f"{name}_rank_values": ranks}
            continue
        sizes |= {f"{name}_codes": cells * TILE_INPUTS // 4, f"{name}_rank_codes": ranks // 4}
        sizes |= {f"{name}_{kind}": cells for kind in ("scales", "sums", "offsets", "offsets_of_4")}
        sizes |= {f"{name}_rank_scales": ranks // 16, f"{name}_rank_offsets": ranks // 16}
    return sizes | {"stream_squares": rows * (shape.hidden // TILE_INPUTS), "stream_inverse": rows}
