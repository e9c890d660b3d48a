"""The weights of a Llama-family language model, with one layer in memory at a time.

Defines the tensors that a model must have, and their shapes. models/formats/llama_sources.py reads them from files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.float_matrix import FloatMatrix, FloatType, common_type
from models.formats.quantization import GROUP, Bits, QuantizedMatrix, to_8_bits

LINEAR_ROLES = ("q", "k", "v", "o", "gate", "up", "down")
VECTOR = 16  # lanes of the kernels' vectors; head_dim must be a multiple
NORM_ROLES = ("attention_norm", "mlp_norm")
MIXED_LAYERS = 62  # layers of a model whose widths differ by layer, so that a bit for each fits int64

Matrix = QuantizedMatrix | FloatMatrix
Precision = Literal["int8", "float"]
"""How linear layers compute: with weights of 4 or 8 bits and inputs of 8, or without rounding."""


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers that define a Llama model, named as in Hugging Face's LlamaConfig."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool


@dataclass(frozen=True)
class LlamaLayer:
    """One transformer block. Matrices are [out, inputs]. The rows of q and k are in half-split rotary order."""

    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    gate: Matrix
    up: Matrix
    down: Matrix
    attention_norm: NDArray[np.float32]
    mlp_norm: NDArray[np.float32]


@dataclass(frozen=True)
class LlamaWeights:
    """A whole model. Its matrices are all quantised, or all floats of one type.

    embedding: 8 bits or floats, [vocab, hidden]. embedding_rest: what an embedding of 8 bits lacks of one that is
    stored as floats, also in 8 bits; else None. head: as stored, or None when the embedding serves as the head.
    layers: each access reads the layer from the files, so that keeping one keeps it in memory.
    digest: sha256 (hex) of the published file, or of the list of files when there are several.
    symmetric: whether there are 4-bit matrices and the minimum of each is -8 * scale, as in Q4_0.
    wide_layers: of the roles whose layers differ, in the order of LINEAR_ROLES: a number with a bit for each layer, bit
    0 for layer 0, set where the matrix has 8 bits and not 4. 0 for a role of one width; () when all roles are.
    """

    config: LlamaConfig
    embedding: Matrix
    layers: Sequence[LlamaLayer]
    final_norm: NDArray[np.float32]
    head: Matrix | None
    digest: str
    embedding_rest: QuantizedMatrix | None = None
    symmetric: bool = False
    wide_layers: tuple[int, ...] = ()


class TensorSource(Protocol):
    """Files that hold tensors, named "embedding", "final_norm", "head", "layers.3.q" and so on."""

    path: Path
    config: LlamaConfig

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every stored tensor. An unknown tensor has the name that the file gives it."""
        ...

    def bits(self, name: str) -> Bits:
        """Bits per code of the matrix that matrix() returns."""
        ...

    def symmetric(self, name: str) -> bool:
        """Whether the minimum of a 4-bit matrix is -8 * scale everywhere."""
        ...

    def matrix(self, name: str) -> QuantizedMatrix:
        """The matrix [out, inputs], with the rows of q and k in half-split rotary order."""
        ...

    def rest(self, name: str) -> QuantizedMatrix | None:
        """What matrix() lacks of a matrix that is stored as floats, in 8 bits; None for other matrices."""
        ...

    def floats(self, name: str) -> NDArray[np.float32]:
        """A tensor that is used in float32: the norms. Raises UserError when it is stored quantised."""
        ...

    def float_type(self, name: str) -> FloatType:
        """The type that holds the values of a matrix exactly."""
        ...

    def exact(self, name: str) -> NDArray[np.float32]:
        """The values of a matrix as they are stored, [out, inputs], with rows in the order of matrix()."""
        ...


def assemble(source: TensorSource, digest: str) -> LlamaWeights:
    """Check that the source holds the tensors of a Llama model and no others, and give access to them.

    The layers of a linear role keep their own widths, 4 or 8 bits. In a model of more than MIXED_LAYERS layers a role
    has 4 bits when it has 4 bits in each layer, otherwise 8. In widening, Q8_0 and Q4_0 layers stay exact and Q4_1
    layers are rounded again, with an error of at most 1/254 of the group's largest weight. The embedding has 8 bits, or
    16 when it is stored as floats: its errors run through all layers, and a token reads only one row of it.

    digest: see LlamaWeights.
    Raises UserError that names the tensor that is missing, unknown or of the wrong shape.
    """
    config = source.config
    check_llama_tensors(source)
    wide = {role: _wide(source, role) for role in LINEAR_ROLES}
    widened = widened_roles(source)
    return LlamaWeights(
        config=config,
        embedding=to_8_bits(source.matrix("embedding")),
        layers=_Layers(source, dict.fromkeys(widened, 8)),
        final_norm=_finite_floats(source, "final_norm"),
        head=None if config.tie_word_embeddings else source.matrix("head"),
        digest=digest,
        embedding_rest=source.rest("embedding"),
        symmetric=is_symmetric(source),
        wide_layers=tuple(wide.values()) if any(wide.values()) and not widened else (),
    )


def widened_roles(source: TensorSource) -> frozenset[str]:
    """The linear roles whose 4-bit layers become 8 bits, because other layers have 8 and there are many layers."""
    if source.config.num_layers <= MIXED_LAYERS:
        return frozenset()
    return frozenset(role for role in LINEAR_ROLES if _wide(source, role))


def is_symmetric(source: TensorSource) -> bool:
    """Whether there are 4-bit matrices and the minimum of each is -8 * scale."""
    narrow = [name for name in linear_names(source.config) if source.bits(name) == 4]
    return bool(narrow) and all(map(source.symmetric, narrow))


def linear_names(config: LlamaConfig) -> list[str]:
    """The names of the linear layers' matrices, with the head where it has its own."""
    names = [f"layers.{layer}.{role}" for role in LINEAR_ROLES for layer in range(config.num_layers)]
    return names if config.tie_word_embeddings else [*names, "head"]


def _wide(source: TensorSource, role: str) -> int:
    """As in LlamaWeights.wide_layers."""
    widths = [source.bits(f"layers.{layer}.{role}") for layer in range(source.config.num_layers)]
    if len(set(widths)) == 1:
        return 0
    return sum(1 << layer for layer, width in enumerate(widths) if width == 8)


def assemble_floats(source: TensorSource, digest: str) -> LlamaWeights:
    """The same weights as floats, without rounding. See `assemble`."""
    config = source.config
    check_llama_tensors(source)
    kind = common_type(map(source.float_type, ["embedding", *linear_names(config)]))
    return LlamaWeights(
        config=config,
        embedding=FloatMatrix(kind, source.exact("embedding")),
        layers=_FloatLayers(source, kind),
        final_norm=_finite_floats(source, "final_norm"),
        head=None if config.tie_word_embeddings else FloatMatrix(kind, source.exact("head")),
        digest=digest,
    )


class _ReadLayers(Sequence[LlamaLayer]):
    """The layers of a source, each read when it is indexed."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source

    def __len__(self) -> int:
        return self._source.config.num_layers

    @overload
    def __getitem__(self, index: int) -> LlamaLayer: ...

    @overload
    def __getitem__(self, index: slice) -> list[LlamaLayer]: ...

    def __getitem__(self, index: int | slice) -> LlamaLayer | list[LlamaLayer]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"layer {index} of {len(self)}")
        prefix = f"layers.{index % len(self)}."
        matrix = self._matrix
        return LlamaLayer(
            q=matrix(prefix, "q"),
            k=matrix(prefix, "k"),
            v=matrix(prefix, "v"),
            o=matrix(prefix, "o"),
            gate=matrix(prefix, "gate"),
            up=matrix(prefix, "up"),
            down=matrix(prefix, "down"),
            attention_norm=_finite_floats(self._source, prefix + "attention_norm"),
            mlp_norm=_finite_floats(self._source, prefix + "mlp_norm"),
        )

    def _matrix(self, prefix: str, role: str) -> Matrix:
        raise NotImplementedError


class _Layers(_ReadLayers):
    """With quantised matrices. bits: of the roles that are widened."""

    def __init__(self, source: TensorSource, bits: Mapping[str, Bits]) -> None:
        super().__init__(source)
        self._bits = bits

    def _matrix(self, prefix: str, role: str) -> Matrix:
        matrix = self._source.matrix(prefix + role)
        return matrix if matrix.bits == self._bits.get(role, matrix.bits) else to_8_bits(matrix)


class _FloatLayers(_ReadLayers):
    """With matrices of floats."""

    def __init__(self, source: TensorSource, kind: FloatType) -> None:
        super().__init__(source)
        self._kind = kind

    def _matrix(self, prefix: str, role: str) -> Matrix:
        return FloatMatrix(self._kind, self._source.exact(prefix + role))


def _finite_floats(source: TensorSource, name: str) -> NDArray[np.float32]:
    """A norm of the source. Raises UserError when it is not finite."""
    values = source.floats(name)
    if not np.isfinite(values).all():
        raise UserError(f"{source.path} has values that are not finite in {name}; it is damaged")
    return values


def check_llama_tensors(source: TensorSource) -> None:
    """Raise UserError unless the source has exactly the tensors of its configuration, and that can run."""
    config, found = source.config, source.shapes()
    if config.num_layers * len(LINEAR_ROLES + NORM_ROLES) > len(found):
        raise UserError(
            f"{source.path} states {config.num_layers} layers but holds {len(found)} tensors; it is incomplete"
        )
    check_llama_config(source.path, config)
    expected = expected_llama_shapes(config)
    for name, shape in expected.items():
        if name not in found:
            raise UserError(f"{source.path} lacks the tensor for {name}; it is not a whole Llama model")
        if found[name] != shape:
            raise UserError(
                f"{source.path} has {name} in the shape {list(found[name])} where its configuration says "
                f"{list(shape)}; it is damaged or of another family"
            )
    for name in found:
        if name not in expected:
            raise UserError(
                f"{source.path} has the tensor {name}, which this app's Llama does not have; "
                "biases, scaled rotary embeddings and mixtures of experts are not supported"
            )


def check_llama_config(path: str | Path, config: LlamaConfig) -> None:
    """Raise UserError for numbers that do not fit together, or that the kernels cannot compute. path: for messages."""
    if config.num_heads % config.num_kv_heads:
        raise UserError(
            f"{path} has {config.num_heads} heads over {config.num_kv_heads}, which do not divide"
        )
    sizes = (
        ("hidden_size", config.hidden_size, GROUP),
        ("intermediate_size", config.intermediate_size, GROUP),
        ("head_dim", config.head_dim, VECTOR),
        ("num_heads * head_dim", config.num_heads * config.head_dim, GROUP),
    )
    for what, size, step in sizes:
        if size % step:
            raise UserError(f"{path} has {what} {size}, which is not supported: no multiple of {step}")


def expected_llama_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a model of this configuration has, by name."""
    hidden, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "q": (queries, hidden),
        "k": (keys, hidden),
        "v": (keys, hidden),
        "o": (hidden, queries),
        "gate": (inner, hidden),
        "up": (inner, hidden),
        "down": (hidden, inner),
        "attention_norm": (hidden,),
        "mlp_norm": (hidden,),
    }
    shapes = {
        f"layers.{index}.{role}": shape for index in range(config.num_layers) for role, shape in layer.items()
    }
    shapes |= {"embedding": (config.vocab_size, hidden), "final_norm": (hidden,)}
    if not config.tie_word_embeddings:
        shapes["head"] = (config.vocab_size, hidden)
    return shapes
