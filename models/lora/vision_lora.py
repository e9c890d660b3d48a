"""What an adapter changes of a SigLIP tower and its connector, and the factors of DoRA."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class VisionLora:
    """An adapter's part for a vision tower and connector, as float32.

    The modules are "layers.{i}.{q|k|v|o|fc1|fc2}" and "connector". Their shapes are those of
    models.formats.siglip_weights.expected_shapes, without padding.

    rank: of every module, 1..MAX_RANK.
    tensors: "{module}.A" [rank, inputs] and "{module}.B" [outputs, rank], with the scale folded into B. A module that
    is missing counts as zero.
    magnitudes: of a DoRA, by module, [outputs] (see `row_factors`). factors: by module, [outputs]; a module's outputs
    without its bias, W x + B (A x), are multiplied with them.
    connector: takes the place of the connector's weights, [text_hidden, hidden * s * s]; None for the model's own.
    """

    rank: int
    tensors: Arrays = field(repr=False)
    magnitudes: Arrays = field(default_factory=dict, repr=False)
    factors: Arrays = field(default_factory=dict, repr=False)
    connector: NDArray[np.float32] | None = field(default=None, repr=False)

    def with_factors(self, weights: Callable[[str], NDArray[np.float32]]) -> VisionLora:
        """The same with the factors of its magnitudes. weights(module): W, float32 [outputs, inputs]."""
        return replace(self, factors=dora_factors(self.tensors, self.magnitudes, weights))


def dora_factors(
    tensors: Arrays, magnitudes: Arrays, weights: Callable[[str], NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """The factors of a DoRA by module. tensors, magnitudes: as in VisionLora. weights(module): W."""
    return {
        module: row_factors(weights(module), tensors[f"{module}.A"], tensors[f"{module}.B"], magnitude)
        for module, magnitude in magnitudes.items()
    }


def row_factors(
    weights: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    magnitudes: NDArray[np.float32],
) -> NDArray[np.float32]:
    """magnitude / |row of W + B A| (arXiv 2402.09353), float32 [outputs]; 1 for a row of zeros.

    weights: W [outputs, inputs]. a: [rank, inputs]. b: [outputs, rank], with the scale folded in.
    """
    norms = np.linalg.norm(weights + b @ a, axis=1)
    factors: NDArray[np.float32] = np.divide(magnitudes, norms, out=np.ones_like(norms), where=norms > 0)
    return factors
