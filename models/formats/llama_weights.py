"""The weights of a Llama-family language model, one layer in memory at a time.

Says which tensors a model must have and in which shapes; where they come from is llama_sources.py's
business. Knows nothing of kernels, packing or tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.quantization import GROUP, Bits, QuantizedMatrix, to_8_bits

LINEAR_ROLES = ("q", "k", "v", "o", "gate", "up", "down")
VECTOR = 16  # a head is made of whole vectors of the kernels
NORM_ROLES = ("attention_norm", "mlp_norm")


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers that define a Llama model, in Hugging Face's words."""

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
    """One block. Matrices are [out, inputs]; q and k rows lie in Hugging Face's (half-split) rotary order."""

    q: QuantizedMatrix
    k: QuantizedMatrix
    v: QuantizedMatrix
    o: QuantizedMatrix
    gate: QuantizedMatrix
    up: QuantizedMatrix
    down: QuantizedMatrix
    attention_norm: NDArray[np.float32]
    mlp_norm: NDArray[np.float32]


@dataclass(frozen=True)
class LlamaWeights:
    """A whole model.

    embedding: 8 bits, [vocab, hidden]. head: as stored, or None when the embedding serves as the head.
    layers: read from disk each time one is asked for; keep none longer than needed.
    digest: sha256 (hex) of the published file, or of the list of files when there are several.
    """

    config: LlamaConfig
    embedding: QuantizedMatrix
    layers: Sequence[LlamaLayer]
    final_norm: NDArray[np.float32]
    head: QuantizedMatrix | None
    digest: str


class TensorSource(Protocol):
    """Where tensors come from, under this module's names: "embedding", "final_norm", "head", "layers.3.q"."""

    path: Path
    config: LlamaConfig

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every stored tensor; one that this module has no name for appears under the file's own name."""
        ...

    def bits(self, name: str) -> Bits:
        """The width in which matrix() will return this one."""
        ...

    def matrix(self, name: str) -> QuantizedMatrix: ...

    def floats(self, name: str) -> NDArray[np.float32]: ...


def assemble(source: TensorSource, digest: str) -> LlamaWeights:
    """Check that the source holds exactly a Llama model's tensors, and give access to them.

    A linear role has one width over all layers: 4 bits when every layer has it so, else 8. Then Q8_0 and
    Q4_0 layers stay exact and Q4_1 layers are rounded once more (error at most half of 1/127 of the group's
    largest weight). The embedding is always 8 bits, under the same rule.
    Raises UserError naming the tensor that is missing, unknown or of the wrong shape.
    """
    config = source.config
    _check_tensors(source)
    bits = {
        role: min_width(source.bits(f"layers.{layer}.{role}") for layer in range(config.num_layers))
        for role in LINEAR_ROLES
    }
    return LlamaWeights(
        config=config,
        embedding=to_8_bits(source.matrix("embedding")),
        layers=_Layers(source, bits),
        final_norm=source.floats("final_norm"),
        head=None if config.tie_word_embeddings else source.matrix("head"),
        digest=digest,
    )


def min_width(widths: Iterator[Bits]) -> Bits:
    """4 when all are, else 8."""
    return 4 if all(width == 4 for width in widths) else 8


class _Layers(Sequence[LlamaLayer]):
    """Layers that are read when indexed."""

    def __init__(self, source: TensorSource, bits: Mapping[str, Bits]) -> None:
        self._source = source
        self._bits = bits

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
        matrix, floats = self._matrix, self._source.floats
        return LlamaLayer(
            q=matrix(prefix, "q"),
            k=matrix(prefix, "k"),
            v=matrix(prefix, "v"),
            o=matrix(prefix, "o"),
            gate=matrix(prefix, "gate"),
            up=matrix(prefix, "up"),
            down=matrix(prefix, "down"),
            attention_norm=floats(prefix + "attention_norm"),
            mlp_norm=floats(prefix + "mlp_norm"),
        )

    def _matrix(self, prefix: str, role: str) -> QuantizedMatrix:
        matrix = self._source.matrix(prefix + role)
        return matrix if matrix.bits == self._bits[role] else to_8_bits(matrix)


def _check_tensors(source: TensorSource) -> None:
    config, found = source.config, source.shapes()
    _check_config(source.path, config, len(found))
    expected = _expected_shapes(config)
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


def _check_config(path: Path, config: LlamaConfig, tensors: int) -> None:
    """What shapes alone do not show, and what must hold before a shape is computed."""
    if config.num_layers * len(LINEAR_ROLES + NORM_ROLES) > tensors:
        raise UserError(
            f"{path} says {config.num_layers} layers but holds {tensors} tensors; it is incomplete"
        )
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


def _expected_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
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
