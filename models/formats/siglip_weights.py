"""The weights of a SigLIP vision tower and the connector that makes rows for a language model of its patches.

Defines the tensors that such a model must have, and their shapes. models/formats/siglip_sources.py reads them from
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.float_matrix import FloatMatrix, FloatType, common_type
from models.formats.llama_weights import Precision
from models.formats.quantization import GROUP, QuantizedMatrix

CHANNELS = 3
HEAD_STEP = 8  # the kernels read so many values of a head at once
WIDEST_HEAD = 128
"""Values of a head at most: the int32 sums of attention hold so many products of two codes of 13 bits."""

LAYER_MATRICES = ("q", "k", "v", "o", "fc1", "fc2")
LAYER_NORMS = ("norm1", "norm2")


@dataclass(frozen=True)
class SiglipConfig:
    """The numbers that define a vision tower with its connector.

    hidden, inner: widths of the tower and of its MLPs. image_size, patch: sides of a tile and of a patch, pixels.
    norm_eps: of the layer norms. scale_factor: s patches by s patches become one row of the language model.
    text_hidden: width of that row.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    image_size: int
    patch: int
    norm_eps: float
    scale_factor: int
    text_hidden: int

    @property
    def side(self) -> int:
        """Patches on a side of a tile. Pixels beyond the last whole patch are not seen."""
        return self.image_size // self.patch

    @property
    def rows(self) -> int:
        """Rows of the language model that a tile becomes."""
        return (self.side // self.scale_factor) ** 2

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(prod(shape) for shape in expected_shapes(self).values())


class SiglipSource(Protocol):
    """Files that hold the tensors of a vision tower under the names of `expected_shapes`."""

    path: Path
    config: SiglipConfig

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every stored tensor. An unknown tensor has the name that the file gives it."""
        ...

    def floats(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32, in the shape of `expected_shapes`."""
        ...

    def matrix(self, name: str) -> QuantizedMatrix:
        """The matrix [out, inputs] in 8-bit codes, padded with columns of zeros to a multiple of 32 inputs."""
        ...

    def float_type(self, name: str) -> FloatType:
        """The type that holds the values of a tensor exactly."""
        ...


class SiglipWeights:
    """A whole vision tower with its connector. Every access reads from the files.

    digest: sha256 (hex) of the published file, or of the list of files when there are several.
    float_type: of the matrices of layers and patch embedding when linear layers compute in float, else None.
    """

    def __init__(self, source: SiglipSource, digest: str, precision: Precision = "int8") -> None:
        """Raises UserError that names the tensor that is missing, unknown or of the wrong shape."""
        check_siglip_tensors(source)
        self.config = source.config
        self.digest = digest
        self._source = source
        self.float_type: FloatType | None = None
        if precision == "float":
            self.float_type = common_type(map(source.float_type, _rounded_matrices(source.config)))

    def floats(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32 in its shape (see `expected_shapes`). Raises UserError when it is not finite."""
        values = self._source.floats(name)
        if not np.isfinite(values).all():
            raise UserError(f"{self._source.path} has values that are not finite in {name}; it is damaged")
        return values

    def matrix(self, name: str) -> QuantizedMatrix | FloatMatrix:
        """A weight matrix of layers or patch embedding in 8-bit codes by groups of 32 inputs, or as floats.

        In codes, Q8_0 and Q4_0 keep their values, and other types are rounded. When 32 does not divide the inputs,
        columns of zeros are added, and the shape of the result is the padded one.
        """
        if self.float_type is None:
            return self._source.matrix(name)
        values = self.floats(name)
        return FloatMatrix(self.float_type, np.pad(values, ((0, 0), (0, -values.shape[1] % GROUP))))


def _rounded_matrices(config: SiglipConfig) -> list[str]:
    """The matrices that SiglipWeights.matrix reads."""
    layers = [f"layers.{layer}.{role}.weight" for layer in range(config.layers) for role in LAYER_MATRICES]
    return ["patch_embedding.weight", *layers]


def expected_shapes(config: SiglipConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model of this configuration, by name. A row of the patch embedding has the
    pixels in the order channel, y, x; a row of the connector has s * s patches in the order y, x."""
    hidden, inner = config.hidden, config.inner
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (hidden, CHANNELS * config.patch**2),
        "patch_embedding.bias": (hidden,),
        "positions": (config.side**2, hidden),
        "final_norm.weight": (hidden,),
        "final_norm.bias": (hidden,),
        "connector.weight": (config.text_hidden, hidden * config.scale_factor**2),
    }
    outputs, inputs = {"fc1": inner}, {"fc2": inner}
    for layer in range(config.layers):
        for role in LAYER_MATRICES:
            rows = outputs.get(role, hidden)
            shapes[f"layers.{layer}.{role}.weight"] = (rows, inputs.get(role, hidden))
            shapes[f"layers.{layer}.{role}.bias"] = (rows,)
        for role in LAYER_NORMS:
            shapes |= {f"layers.{layer}.{role}.{part}": (hidden,) for part in ("weight", "bias")}
    return shapes


def check_siglip_config(path: str | Path, config: SiglipConfig) -> None:
    """Raise UserError for numbers that do not fit together, or that the kernels cannot compute. path: for messages."""
    if config.hidden % config.heads:
        raise UserError(f"{path} has a vision tower {config.hidden} wide with {config.heads} heads")
    if (head := config.hidden // config.heads) % HEAD_STEP or head > WIDEST_HEAD:
        raise UserError(
            f"{path} has a vision tower with heads {head} wide, which is not supported; multiples of {HEAD_STEP} "
            f"up to {WIDEST_HEAD} are"
        )
    if config.side < 1 or config.side % config.scale_factor:
        raise UserError(
            f"{path} has {config.side} patches on the side of a tile, which the scale factor "
            f"{config.scale_factor} does not divide"
        )


def check_siglip_tensors(source: SiglipSource) -> None:
    """Raise UserError unless the source has exactly the tensors of its configuration, and that fits together."""
    check_siglip_config(source.path, source.config)
    found, path = source.shapes(), source.path
    if source.config.layers > len(found):
        raise UserError(f"{path} states {source.config.layers} layers of its vision tower; it is incomplete")
    expected = expected_shapes(source.config)
    for name, shape in expected.items():
        if name not in found:
            raise UserError(f"{path} lacks the tensor for {name} of the vision tower; it is incomplete")
        if found[name] != shape:
            raise UserError(
                f"{path} has {name} of the vision tower in the shape {list(found[name])} where its configuration "
                f"says {list(shape)}; it is damaged or of another family"
            )
    for name in found:
        if name not in expected:
            raise UserError(f"{path} has the tensor {name}, which a SigLIP vision tower does not have")
