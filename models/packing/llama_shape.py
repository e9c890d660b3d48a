"""The sizes of a Llama model that its kernels are compiled for, and where its packed matrices lie."""

from __future__ import annotations

from dataclasses import dataclass

from models.formats.float_matrix import FloatMatrix, FloatType
from models.formats.llama_weights import LINEAR_ROLES, LlamaWeights
from models.packing.tiles import SYMMETRIC_BYTES, TILE_BYTES, TILE_INPUTS, TILE_ROWS


@dataclass(frozen=True)
class LlamaShape:
    """The sizes that the kernels are compiled for.

    epsilon: of the RMS norms. *_bits: 4 or 8, of each linear role; head_bits is 0 when the head is the embedding
    (tied). embedding_bits: 8, or 16 when the embedding has a remainder. symmetric: see models.packing.tiles.
    wide_layers: as in LlamaWeights; a role whose layers differ counts as one of 4 bits. float_type: of all matrices of
    a model of floats, whose *_bits are those of the type; None for quantised ones.
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
