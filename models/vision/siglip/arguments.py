"""The arguments of the tower's functions: names, types, order and sizes. Must not import the compiler.

Every function takes SCALARS (int32) and then one flat tensor for every entry of buffer_types(shape):

    patch                      uint8, the packed patch embedding, and packed likewise what its rounding has lost, if any
    layers, connector          uint8, packed matrices (models/vision/siglip/shape.py); layers one after another
    positions                  float32 [patches, width]: position embedding + bias of the patch embedding
    vectors                    float32: VECTORS of each layer, then the weight and the bias of the final norm
    factors                    float32: a factor for every output of the linear layers, by layer, then the connector's
    lora                       uint8: layers' LoRA one after another, then the connector's A and B
    pixel_codes, _offsets      int32: the patches as activations of scale 1 / 127.5, see Cells
    pixel_values               float32: the patches of a tower of floats, [tile][group][row][32]
    output                     float32 [output tiles * TILE_ROWS, 32 * panels]
    all others                 memory between the functions, or scratch memory of a thread

layer: which one. rank_groups: LoRA rank / 32, 0 without an adapter. lora_base: offset in bytes of the connector's LoRA.
factor_base: offset in floats of the connector's factors. panels: of the connector. vector_base: offset in floats of
the final norm. threads: that work.
"""

from __future__ import annotations

from models.vision.siglip.shape import BLOCK_TILES, GROUP, MAX_RANK, TILE_ROWS, TILES_AT_ONCE, SiglipShape

SCALARS = ("layer", "rank_groups", "lora_base", "factor_base", "vector_base", "panels", "threads")

WEIGHTS = {
    "patch": "uint8",
    "layers": "uint8",
    "connector": "uint8",
    "positions": "float32",
    "vectors": "float32",
}
ADAPTER = {"factors": "float32", "lora": "uint8"}
MASKED = -1e30
"""The value of "key_masks" at keys beyond the last row, which is added to their scores."""

CELLS = ("pixel", "stream", "inner", "rank", "square", "square_rank")
"""Sets of activations, quantised or as floats.

They are of patches, the residual stream, the MLP, A x, the connector's inputs, and its A x."""


def memory_types(shape: SiglipShape) -> dict[str, str]:
    """Element type of every buffer that the caller allocates, in the order of a call."""
    types = {"output": "float32", "x": "float32", "values": "float32", "sums": "float32"}
    types |= {"queries": "int32", "query_scales": "float32", "keys": "int32", "key_scales": "float32"}
    types |= {"key_values": "int32", "value_scales": "float32", "key_masks": "float32"}
    types |= {"scores": "float32", "weights": "int32", "peaks": "float32", "masses": "float32"}
    types |= {"attended": "float32", "value_factors": "float32"}
    for name in CELLS:
        if shape.float_type is not None:
            types[f"{name}_values"] = "float32"
            continue
        types |= {f"{name}_codes": "int32", f"{name}_offsets": "int32", f"{name}_scales": "float32"}
    return types


def buffer_types(shape: SiglipShape) -> dict[str, str]:
    """Element type of every tensor argument, in the order of a call."""
    return WEIGHTS | ADAPTER | memory_types(shape)


def value_stride(shape: SiglipShape) -> int:
    """Floats of a row of "values": a head's last vector may reach beyond the row."""
    return shape.width + 16


def score_stride(shape: SiglipShape) -> int:
    """Floats from one row of "scores" to the next. With a power of two the rows would share cache lines."""
    return shape.keys + 16


def weight_stride(shape: SiglipShape) -> int:
    """Words from one row of "weights" to the next, likewise."""
    return shape.keys // 2 + 16


def memory_sizes(shape: SiglipShape, panels: int, threads: int) -> dict[str, int]:
    """Elements of every buffer of memory_types()."""
    rows, block = shape.tiles * TILE_ROWS, threads * BLOCK_TILES * TILE_ROWS
    dims, heads, keys = 16 * shape.head_vectors, shape.heads, shape.keys
    outputs = shape.output_tiles * TILE_ROWS
    slots = threads * TILES_AT_ONCE * TILE_ROWS
    sizes = {
        "output": outputs * 32 * panels,
        "x": rows * shape.width,
        "values": block * value_stride(shape),
        "sums": block * 32,
        "queries": rows * heads * dims // 2,
        "query_scales": rows * heads,
        "keys": heads * keys * dims // 2,
        "key_scales": heads * keys,
        "key_values": heads * keys // 2 * dims,
        "value_scales": heads * keys,
        "key_masks": keys,
        "scores": slots * score_stride(shape),
        "weights": slots * weight_stride(shape),
        "peaks": slots * 16,
        "masses": slots,
        "attended": slots * dims,
        "value_factors": threads * keys,
    }
    cells = {
        "pixel": rows * shape.pixel_width // GROUP,
        "stream": block * shape.width // GROUP,
        "inner": block * shape.inner_width // GROUP,
        "rank": block * 3 * MAX_RANK // GROUP,
        "square": outputs * shape.connector_width // GROUP,
        "square_rank": outputs * MAX_RANK // GROUP,
    }
    for name, count in cells.items():
        if shape.float_type is not None:
            sizes[f"{name}_values"] = GROUP * count
            continue
        sizes |= {f"{name}_codes": 8 * count, f"{name}_offsets": count, f"{name}_scales": count}
    return sizes
