"""A model's weights as the kernels read them: one file of 64-byte-aligned tiles, mapped or copied into memory.

A tile is 16 output rows x 32 inputs:

    codes    chunks of 64 bytes, each 16 rows x 4 consecutive inputs. Row r, input 4 c + j of 8 bits is byte 4 r + j of
             chunk c. For 4 bits, chunks 2 c and 2 c + 1 share 64 bytes: the first in the low halves, the second in the
             high ones.
    scale    float16 [16], one for each row
    minimum  float16 [16], 4 bits only, and not in a symmetric model

or, in a model of floats, 32 inputs x 16 output rows of bfloat16, float16 or float32.

A weight is scale * code + minimum for 4 bits (code 0..15), scale * (code - 8) for 4 bits of a symmetric model, and
scale * (code - 128) for 8 bits (code 0..255). A chunk is one 512-bit register of weights, which a dot product
instruction multiplies with one int32 of 4 activations.

A matrix is stored by blocks of 16 rows, each block's tiles in the order of the inputs. All layers of a role follow one
another, each in its own width. The same file serves every instruction set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.cache import (
    PAGE,
    content_check,
    end_of,
    header_page,
    lay_out,
    mark_used,
    packed_name,
    read_header,
    remove_other_versions,
)
from models.core.errors import UserError
from models.core.files import alone, replacing, written_to
from models.core.huge_pages import packed_content
from models.core.types import Progress, no_progress
from models.formats.float_matrix import FloatMatrix, FloatType
from models.formats.llama_weights import LINEAR_ROLES, LlamaConfig, LlamaWeights, Matrix, Precision

TILE_ROWS = 16
TILE_INPUTS = 32
CODE_BYTES = {4: 256, 8: 512}  # of a tile, by bits: 16 * 32 * bits / 8
# With float16 scale[16] and, for 4 bits, minimum[16]; 16 and 32 bits are floats.
TILE_BYTES = {4: 320, 8: 544, 16: 1024, 32: 2048}
SYMMETRIC_BYTES = TILE_BYTES | {4: 288}  # the same of a symmetric model, without the minimum

_MAGIC = b"EDGEPACK"
_VERSION = 2
"""Part of the file's name. A change of the layout, or of the widths that are chosen for weights, must raise it."""


@dataclass(frozen=True)
class LlamaShape:
    """The sizes that the kernels are compiled for.

    epsilon: of the RMS norms. *_bits: 4 or 8, of each linear role; head_bits is 0 when the head is the embedding
    (tied). embedding_bits: 8, or 16 when the embedding has a remainder. symmetric: see the module. wide_layers: as in
    LlamaWeights; a role whose layers differ counts as one of 4 bits.
    float_type: of all matrices of a model of floats, whose *_bits are those of the type; None for quantised ones.
    Raises ValueError for sizes that the kernels do not support.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    epsilon: float
    q_bits: int
    k_bits: int
    v_bits: int
    o_bits: int
    gate_bits: int
    up_bits: int
    down_bits: int
    head_bits: int
    embedding_bits: int = 8
    symmetric: bool = False
    wide_layers: tuple[int, ...] = ()
    float_type: FloatType | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "wide_layers", tuple(self.wide_layers))  # JSON has lists
        wrong = (
            self.hidden % 32
            or self.intermediate % 32
            or (self.heads * self.head_dim) % 32
            or self.head_dim % 16
            or self.heads % self.kv_heads
        )
        if wrong:
            raise ValueError(f"no kernels for this shape: {self}")

    @property
    def tile_bytes(self) -> dict[int, int]:
        """Bytes of a tile, by bits."""
        return SYMMETRIC_BYTES if self.symmetric else TILE_BYTES

    @property
    def tables(self) -> tuple[str, ...]:
        """The sections whose sum is the embedding."""
        split = self.float_type is None and self.embedding_bits == 16
        return ("embedding", "embedding_rest") if split else ("embedding",)

    @property
    def planes(self) -> int:
        """Roundings of activations: with 2, the first layer reads their codes and those of what these lack.

        Models whose weights were stored as floats have 2. Errors of the first layer run through all others, and make
        up half of all that rounding does; it is a thirtieth of the work.
        """
        return len(self.tables)

    @property
    def table_bits(self) -> int:
        """Bits of each of the tables."""
        return 8 if self.float_type is None else self.embedding_bits

    @property
    def attention_width(self) -> int:
        """Width of the concatenated query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the concatenated key heads, and of the value heads."""
        return self.kv_heads * self.head_dim

    @property
    def padded_vocab(self) -> int:
        """Rows of the packed embedding and head: vocab rounded up to a multiple of 16."""
        return -(-self.vocab // TILE_ROWS) * TILE_ROWS

    def bits(self, role: str) -> int:
        """Bits of the codes of a linear role: 4 or 8."""
        return int(getattr(self, f"{role}_bits"))

    def wide(self, role: str) -> int:
        """A bit for each layer that has 8 bits although the role has 4."""
        return self.wide_layers[LINEAR_ROLES.index(role)] if self.wide_layers else 0

    def layer_bits(self, role: str, layer: int) -> int:
        """Bits of the codes of a linear role in one layer."""
        return 8 if self.wide(role) >> layer & 1 else self.bits(role)

    def layer_offset(self, role: str, layer: int) -> int:
        """Bytes of a role's section that lie before this layer."""
        outputs, inputs = self.matrix(role)
        sizes = (self.tile_bytes[self.layer_bits(role, number)] for number in range(layer))
        return outputs // TILE_ROWS * (inputs // TILE_INPUTS) * sum(sizes)

    def matrix(self, role: str) -> tuple[int, int]:
        """(outputs, inputs) of a linear role's matrix in one layer."""
        hidden, attention = self.hidden, self.attention_width
        return {
            "q": (attention, hidden),
            "k": (self.kv_width, hidden),
            "v": (self.kv_width, hidden),
            "o": (hidden, attention),
            "gate": (self.intermediate, hidden),
            "up": (self.intermediate, hidden),
            "down": (hidden, self.intermediate),
        }[role]


def shape_of(weights: LlamaWeights) -> LlamaShape:
    """The shape of opened weights. All layers have the bits of the first one, unless their widths differ."""
    config, layer, embedding = weights.config, weights.layers[0], weights.embedding
    wide = weights.wide_layers or (0,) * len(LINEAR_ROLES)
    split = weights.embedding_rest is not None
    return LlamaShape(
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_layers,
        heads=config.num_heads,
        kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        vocab=config.vocab_size,
        epsilon=config.rms_norm_eps,
        head_bits=0 if weights.head is None else weights.head.bits,
        symmetric=weights.symmetric,
        embedding_bits=16 if split else embedding.bits,
        wide_layers=weights.wide_layers,
        float_type=embedding.type if isinstance(embedding, FloatMatrix) else None,
        **{
            f"{role}_bits": 4 if mixed else getattr(layer, role).bits
            for role, mixed in zip(LINEAR_ROLES, wide, strict=True)
        },
    )


@dataclass(frozen=True)
class PackedModel:
    """A packed file in memory.

    sections: flat uint8 arrays of tiles "embedding" and "embedding_rest" (8 bits; their sum is the embedding of 16
    bits), the seven linear roles (all layers), "head" unless it is
    tied; and "norms", float32, flat [2 * layers + 1, hidden]: attention and MLP norm of each layer, then the final one.
    They are a copy on huge pages, or mapped copy-on-write, so that the file cannot be changed through them.
    """

    config: LlamaConfig
    shape: LlamaShape
    digest: str
    sections: dict[str, NDArray[Any]]


def pack_matrix(matrix: Matrix, symmetric: bool = False) -> NDArray[np.uint8]:
    """Pack a matrix into tiles: uint8 [rows / 16, inputs / 32, bytes]. Rows are padded to a multiple of 16.

    symmetric: of the model. The minimum of 4-bit tiles, which must be -8 * scale, is then left out. Padding rows have
    scale and minimum 0 and so are zero.
    """
    if isinstance(matrix, FloatMatrix):
        return matrix.blocks(TILE_ROWS).reshape(-1, matrix.shape[1] // TILE_INPUTS, TILE_BYTES[matrix.bits])
    codes = np.asarray(matrix.codes, dtype=np.uint8)
    rows, groups = codes.shape[:2]
    blocks = -(-rows // TILE_ROWS)
    zero = 0 if matrix.bits == 4 else 128  # the code of weight 0, with minimum 0
    codes = _pad_rows(codes, blocks * TILE_ROWS, zero).reshape(blocks, TILE_ROWS, groups, TILE_INPUTS)
    if matrix.bits == 4:
        # inputs 32 = 4 pairs of chunks x 2 chunks x 4; -> [block, group, pair, chunk, row, 4]
        pairs = codes.reshape(blocks, TILE_ROWS, groups, 4, 2, 4).transpose(0, 2, 3, 4, 1, 5)
        packed: NDArray[np.uint8] = pairs[:, :, :, 0] | (pairs[:, :, :, 1] << np.uint8(4))
    else:
        # inputs 32 = 8 chunks x 4; -> [block, group, chunk, row, 4]
        packed = codes.reshape(blocks, TILE_ROWS, groups, 8, 4).transpose(0, 2, 3, 1, 4)
    sizes = SYMMETRIC_BYTES if symmetric else TILE_BYTES
    tiles = np.empty((blocks, groups, sizes[matrix.bits]), np.uint8)
    size = CODE_BYTES[matrix.bits]
    tiles[:, :, :size] = packed.reshape(blocks, groups, size)
    tiles[:, :, size : size + 32] = _halves(matrix.scale, blocks)
    if matrix.bits == 4 and not symmetric:
        assert matrix.minimum is not None
        tiles[:, :, size + 32 :] = _halves(matrix.minimum, blocks)
    return tiles


def _pad_rows(array: NDArray[Any], rows: int, value: int) -> NDArray[Any]:
    if len(array) == rows:
        return array
    padded = np.full((rows, *array.shape[1:]), value, array.dtype)
    padded[: len(array)] = array
    return padded


def _halves(values: NDArray[np.float16], blocks: int) -> NDArray[np.uint8]:
    """float16 [rows, groups] -> bytes [blocks, groups, 32]."""
    padded = _pad_rows(np.asarray(values, np.float16), blocks * TILE_ROWS, 0)
    by_tile = np.ascontiguousarray(padded.reshape(blocks, TILE_ROWS, -1).transpose(0, 2, 1))
    return by_tile.view(np.uint8)


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
    with written_to(cache_dir, "make room there, or set EDGE_APP_HOME to another disk"):
        packed = open_packed(path, digest)
        if packed is None:
            cache_dir.mkdir(parents=True, exist_ok=True)
            with alone(
                path.with_suffix(".lock"),
                partial(progress, "pack", "waiting for another process to pack the weights", 0, None),
            ):
                packed = open_packed(path, digest) or _packed_now(path, digest, read, progress)
    mark_used(path)
    remove_other_versions(path)
    return packed


def _packed_now(path: Path, digest: str, read: Callable[[], LlamaWeights], progress: Progress) -> PackedModel:
    """Pack the weights. The caller holds the lock, so unfinished files were left by processes that ended early."""
    for unfinished in path.parent.glob(f"{path.name}?*"):
        unfinished.unlink(missing_ok=True)
    write_packed(path, digest, read(), progress)
    packed = open_packed(path, digest)
    if packed is None:
        raise UserError(
            f"{path} does not read back as it was written: the disk is damaged; "
            "set EDGE_APP_HOME to another disk."
        )
    return packed


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
