"""An adapter in the layout in which the tower's kernels take it.

The kernels compute y = factor * (W x + B (A x)) + bias for every linear layer, and without a bias for the connector.
The factors are those of a DoRA, else 1. A and B are rounded to 8 bits like weights, and stay float32 in a tower of
floats. The layers that share inputs have their A in one matrix, one part after another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler.tvm_runtime import aligned_zeros
from models.core.errors import UserError
from models.formats.float_matrix import FloatMatrix, FloatType
from models.formats.quantization import quantise
from models.formats.siglip_weights import SiglipConfig, expected_shapes
from models.lora.vision_lora import VisionLora
from models.vision.siglip.packed_siglip import pack_connector, shape_of
from models.vision.siglip.shape import (
    GROUP,
    LINEAR_ROLES,
    MAX_RANK,
    SITES,
    SiglipShape,
    pack_panels,
    padded,
    panel_bytes,
)


@dataclass(frozen=True)
class PackedVisionLora:
    """An adapter for one tower.

    generation: identifies its content, as that of models.adapter_weights.AdapterWeights does.
    rank_groups: its padded rank / 32; 0 when it has no low-rank part. arrays: "factors" and "lora" as in
    models.vision.siglip.arguments, and "connector" when the adapter replaces that.
    """

    generation: int
    rank_groups: int
    arrays: dict[str, NDArray[Any]]

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in self.arrays.values())


def plain_factors(config: SiglipConfig) -> NDArray[np.float32]:
    """Factors of 1 for every output of the linear layers, by layer, then for the connector's."""
    count = config.layers * shape_of(config).layer_factors + padded(config.text_hidden)
    factors = aligned_zeros(count, np.float32)
    factors[:] = 1
    return factors


def pack_vision_lora(
    config: SiglipConfig, lora: VisionLora, name: str, generation: int, floats: bool = False
) -> PackedVisionLora:
    """Pack an adapter. name: of the adapter, for messages. floats: whether the tower has floats of any type.

    Raises UserError when it does not fit the tower.
    """
    shape = shape_of(config, "f32" if floats else None)
    _validate(config, lora, name)
    groups = -(-lora.rank // GROUP) if lora.tensors else 0
    arrays: dict[str, NDArray[Any]] = {
        "factors": _factors(config, lora), "lora": _low_rank(shape, config, lora, groups)
    }  # fmt: skip
    if (connector := lora.connector) is not None:
        packed = pack_connector(config, lambda: quantise(connector, 8), lambda: connector, floats)
        arrays["connector"] = aligned_zeros(packed.size, np.uint8)
        arrays["connector"][:] = packed
    return PackedVisionLora(generation, groups, arrays)


def _validate(config: SiglipConfig, lora: VisionLora, name: str) -> None:
    if not 1 <= lora.rank <= MAX_RANK:
        raise UserError(
            f"The adapter {name} has rank {lora.rank} in the vision tower; ranks from 1 to {MAX_RANK} can run."
        )
    expected = expected_shapes(config)
    found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for tensor_name, tensor in lora.tensors.items():
        module, _, part = tensor_name.rpartition(".")
        outputs, inputs = expected.get(f"{module}.weight", (0, 0))
        found[tensor_name] = (tensor.shape, (lora.rank, inputs) if part == "A" else (outputs, lora.rank))
    for module, factors in lora.factors.items():
        found[module] = (factors.shape, expected.get(f"{module}.weight", (0,))[:1])
    if lora.connector is not None:
        found["connector"] = (lora.connector.shape, expected["connector.weight"])
    for what, (shape, wanted) in found.items():
        if 0 in wanted:
            raise UserError(
                f"The adapter {name} adapts {what} of a vision tower, which this model does not have."
            )
        if shape != wanted:
            raise UserError(
                f"The adapter {name} does not fit this model: {what} of the vision tower is {list(shape)}, expected "
                f"{list(wanted)}."
            )


def _factors(config: SiglipConfig, lora: VisionLora) -> NDArray[np.float32]:
    shape, factors = shape_of(config), plain_factors(config)
    for module, given in lora.factors.items():
        start = config.layers * shape.layer_factors
        if module != "connector":
            _, layer, role = module.split(".")
            start = int(layer) * shape.layer_factors + shape.factor_offset(role)
        factors[start : start + len(given)] = given
    return factors


def _low_rank(shape: SiglipShape, config: SiglipConfig, lora: VisionLora, groups: int) -> NDArray[np.uint8]:
    """A and B of all layers and of the connector: flat uint8."""
    rank, kind = groups * GROUP, shape.exact_type
    connector_outputs = padded(config.text_hidden)
    connector_a = panel_bytes(GROUP, shape.connector_width, kind)
    connector_bytes = connector_a + panel_bytes(connector_outputs, GROUP, kind)
    packed = aligned_zeros(
        max(64, groups * (config.layers * shape.layer_lora_bytes + connector_bytes)), np.uint8
    )
    if not groups:
        return packed
    for layer in range(config.layers):
        start, name = groups * layer * shape.layer_lora_bytes, f"layers.{layer}."
        for site, roles in SITES.items():
            stacked = np.zeros((len(roles) * rank, shape.matrix(roles[0])[1]), np.float32)
            for part, role in enumerate(roles):
                _put(stacked[part * rank :], lora.tensors.get(f"{name}{role}.A"))
            _write(packed, start + groups * shape.a_offset(site), stacked, kind)
        for role in LINEAR_ROLES:
            b = np.zeros((shape.matrix(role)[0], rank), np.float32)
            _put(b, lora.tensors.get(f"{name}{role}.B"))
            _write(packed, start + groups * shape.b_offset(role), b, kind)
    start = groups * config.layers * shape.layer_lora_bytes
    # The inputs of each patch are padded.
    patches = np.zeros((rank, config.scale_factor**2, shape.width), np.float32)
    if (a := lora.tensors.get("connector.A")) is not None:
        patches[: len(a), :, : config.hidden] = a.reshape(len(a), -1, config.hidden)
    _write(packed, start, patches.reshape(rank, -1), kind)
    b = np.zeros((connector_outputs, rank), np.float32)
    _put(b, lora.tensors.get("connector.B"))
    _write(packed, start + groups * connector_a, b, kind)
    return packed


def _put(into: NDArray[np.float32], values: NDArray[np.float32] | None) -> None:
    """Copy values into the upper left corner."""
    if values is not None:
        into[: values.shape[0], : values.shape[1]] = values


def _write(
    packed: NDArray[np.uint8], start: int, matrix: NDArray[np.float32], kind: FloatType | None
) -> None:
    panels = pack_panels(quantise(matrix, 8) if kind is None else FloatMatrix(kind, matrix))
    packed[start : start + len(panels)] = panels
