"""A model's weights as the kernels read them: one file of 64-byte-aligned tiles, mapped or copied into memory.

The tiles are described in models/packing/tiles.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.cache import packed_name
from models.core.files import replacing
from models.core.huge_pages import packed_content
from models.core.packed_file import (
    PAGE,
    content_check,
    end_of,
    header_page,
    lay_out,
    read_header,
    read_or_make,
)
from models.core.types import Progress, no_progress
from models.formats.llama_weights import LINEAR_ROLES, LlamaConfig, LlamaWeights, Precision
from models.packing.llama_shape import LlamaShape, shape_of
from models.packing.tiles import TILE_BYTES, TILE_INPUTS, TILE_ROWS, pack_matrix

_MAGIC = b"EDGEPACK"
_VERSION = 2
"""Part of the file's name. A change of the layout, or of the widths that are chosen for weights, must raise it."""


@dataclass(frozen=True)
class PackedModel:
    """A packed file in memory.

    sections: flat uint8 arrays of tiles "embedding" and "embedding_rest" (8 bits; their sum is the embedding of 16
    bits), the seven linear roles (all layers), and "head" unless it is tied; and "norms", float32, flat
    [2 * layers + 1, hidden]: attention and MLP norm of each layer, then the final one. They are a copy on huge pages,
    or mapped copy-on-write, so that the file cannot be changed through them.
    """

    config: LlamaConfig
    shape: LlamaShape
    digest: str
    sections: dict[str, NDArray[Any]]


def load_or_pack(
    digest: str,
    read: Callable[[], LlamaWeights],
    cache_dir: Path,
    progress: Progress = no_progress,
    precision: Precision = "int8",
) -> PackedModel:
    """The packed file of the weights with this digest, written from read() when it is missing or damaged.

    digest: sha256 (hex) of the weights. precision: of what read() returns.
    Raises UserError when the disk refuses the file, and what read() raises.
    """
    kind = "" if precision == "int8" else "-float"
    path = cache_dir / f"{packed_name(digest)}{kind}-v{_VERSION}.pack"
    return read_or_make(
        path,
        lambda: open_packed(path, digest),
        lambda: write_packed(path, digest, read(), progress),
        partial(progress, "pack", "waiting for another process to pack the weights", 0, None),
    )


def write_packed(path: Path, digest: str, weights: LlamaWeights, progress: Progress = no_progress) -> None:
    """Write the packed file. One role of one layer is in memory at a time. Raises OSError."""
    shape = shape_of(weights)
    plan = _plan(shape)
    with replacing(path) as file:
        for done, (name, layer, array) in enumerate(_arrays(weights)):
            file.seek(plan[name][0] + (shape.layer_offset(name, layer) if layer else 0))
            file.write(array.tobytes())
            progress("pack", "packing the weights", done, shape.layers * len(LINEAR_ROLES) + 3)
        file.truncate(end_of(plan))
        header = {
            "digest": digest,
            "config": asdict(weights.config),
            "shape": asdict(shape),
            "check": content_check(file),
        }
        file.seek(0)
        file.write(header_page(_MAGIC, header))


def _arrays(weights: LlamaWeights) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """(section, layer, array) of all sections. Arrays are made one at a time, to bound the memory."""
    yield "embedding", 0, pack_matrix(weights.embedding)
    if weights.embedding_rest is not None:
        yield "embedding_rest", 0, pack_matrix(weights.embedding_rest)
    if weights.head is not None:
        yield "head", 0, pack_matrix(weights.head, weights.symmetric)
    norms = []
    for number in range(weights.config.num_layers):
        layer = weights.layers[number]
        for role in LINEAR_ROLES:
            yield role, number, pack_matrix(getattr(layer, role), weights.symmetric)
        norms += [layer.attention_norm, layer.mlp_norm]
    yield "norms", 0, np.stack([*norms, weights.final_norm]).astype(np.float32)


def _plan(shape: LlamaShape) -> dict[str, tuple[int, int]]:
    """Section -> (offset in the file, bytes). Sections start at multiples of PAGE."""
    groups = shape.hidden // TILE_INPUTS
    vocab_blocks = shape.padded_vocab // TILE_ROWS
    sizes = dict.fromkeys(shape.tables, vocab_blocks * groups * TILE_BYTES[shape.table_bits])
    if shape.head_bits:
        sizes["head"] = vocab_blocks * groups * shape.tile_bytes[shape.head_bits]
    sizes |= {role: shape.layer_offset(role, shape.layers) for role in LINEAR_ROLES}
    sizes["norms"] = (2 * shape.layers + 1) * shape.hidden * 4
    return lay_out(sizes)


def open_packed(path: Path, digest: str) -> PackedModel | None:
    """Open a packed file. Returns None when it is missing, damaged, of another version or of other weights."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = read_header(_MAGIC, file.read(PAGE))
        if header is None or header["digest"] != digest:
            return None
        try:
            config, shape = LlamaConfig(**header["config"]), LlamaShape(**header["shape"])
        except (KeyError, TypeError):  # fields of another version; read_header has checked for damage
            return None
        plan = _plan(shape)
        if path.stat().st_size != end_of(plan):
            return None
        content, check = packed_content(file, path)
        if check != header["check"]:
            return None
    sections: dict[str, NDArray[Any]] = {
        name: np.asarray(content[offset : offset + size]) for name, (offset, size) in plan.items()
    }
    sections["norms"] = sections["norms"].view(np.float32)
    return PackedModel(config, shape, digest, sections)
