"""The layers of EfficientNet-Lite2, and its weights packed for the kernels.

The architecture is EfficientNet-Lite (Google, 2020: no squeeze-and-excite, ReLU6, stem and head not scaled) with
width 1.1 and depth 1.2 and TensorFlow's "same" padding. Batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler.tvm_runtime import aligned_zeros
from models.core.errors import UserError

LANES = 16
"""Channels of a block: one vector of float32."""

EPSILON = 1e-3
"""The epsilon of the batch normalisation in the published weights."""

STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSES = 1000

# (repeats, kernel, stride of the first block, expansion, output channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Convolution:
    """The offsets of a layer's weights and bias in the packed array, in floats.

    inputs: products that are summed for one output. channels: output channels, without padding.
    """

    weights_at: int
    bias_at: int
    inputs: int
    channels: int


@dataclass(frozen=True)
class PackedBlock:
    """An inverted residual block: expand (None when the expansion is 1), depthwise, project.

    adds: the block adds its input to its output.
    """

    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    kernel: int
    stride: int
    adds: bool


@dataclass(frozen=True)
class PackedTower:
    """The whole tower. weights: float32, of all layers, in one aligned array.

    classifier, classifier_bias: float32 [1000, 1280] and [1000], as in the checkpoint.
    """

    stem: Convolution
    blocks: tuple[PackedBlock, ...]
    head: Convolution
    weights: NDArray[np.float32]
    classifier: NDArray[np.float32]
    classifier_bias: NDArray[np.float32]


def blocks_of(channels: int) -> int:
    """Blocks of LANES channels, the last one padded."""
    return -(-channels // LANES)


def pack_tower(tensors: Tensors) -> PackedTower:
    """Pack a checkpoint's tensors. Raises UserError when they are not those of an EfficientNet-Lite2."""
    reader = _TensorReader(tensors)
    packer = _Packer(reader, capacity=2 * sum(tensor.size for tensor in tensors.values()))
    stem = packer.stem()
    blocks: list[PackedBlock] = []
    channels = STEM_CHANNELS
    for repeats, kernel, first_stride, expansion, outputs in STAGES:
        for repeat in range(repeats):
            name, hidden = f"_blocks.{len(blocks)}.", channels * expansion
            stride = first_stride if repeat == 0 else 1
            blocks.append(
                PackedBlock(
                    expand=packer.pointwise(name + "_expand_conv", name + "_bn0", channels, hidden)
                    if expansion > 1
                    else None,
                    depthwise=packer.depthwise(name + "_depthwise_conv", name + "_bn1", hidden, kernel),
                    project=packer.pointwise(name + "_project_conv", name + "_bn2", hidden, outputs),
                    kernel=kernel,
                    stride=stride,
                    adds=stride == 1 and channels == outputs,
                )
            )
            channels = outputs
    head = packer.pointwise("_conv_head", "_bn1", channels, HEAD_CHANNELS)
    classifier = reader.take("_fc.weight", (CLASSES, HEAD_CHANNELS)).copy()  # a view would keep all tensors
    classifier_bias = reader.take("_fc.bias", (CLASSES,)).copy()
    reader.finish()
    return PackedTower(stem, tuple(blocks), head, packer.finish(), classifier, classifier_bias)


class _TensorReader:
    """Reads tensors by name and checks their shapes. A tensor that is never read is an error."""

    def __init__(self, tensors: Tensors) -> None:
        self._left = {name: tensors[name] for name in tensors if not name.endswith(".num_batches_tracked")}

    def take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A tensor as float32. Raises UserError when it is missing, not finite or of another shape."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise UserError(
                f"The vision tower's weights lack {name}: this is no EfficientNet-Lite2 checkpoint."
            )
        if tensor.shape != shape:
            raise UserError(
                f"The vision tower's {name} has the shape {tensor.shape}, not {shape}: "
                "this is no EfficientNet-Lite2 checkpoint."
            )
        if not np.isfinite(tensor).all():
            raise UserError(f"The vision tower's {name} is not finite: remove the model and pull it again.")
        return tensor.astype(np.float32, copy=False)

    def normalisation(self, name: str, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Batch normalisation as y = scale * x + shift: (scale, shift), float32 [channels] each."""
        weight, bias, mean, variance = (
            self.take(f"{name}.{part}", (channels,)).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + EPSILON)  # in float64: the result is rounded only once
        return scale.astype(np.float32), (bias - mean * scale).astype(np.float32)

    def finish(self) -> None:
        if self._left:
            raise UserError(
                f"The vision tower's weights have {next(iter(self._left))}: "
                "this is no EfficientNet-Lite2 checkpoint."
            )


class _Packer:
    """Writes folded weights one after another into one array. The length of every part is a multiple of 16 floats."""

    def __init__(self, reader: _TensorReader, capacity: int) -> None:
        """capacity: an upper bound in floats. Pages that are not written take no memory."""
        self._reader = reader
        self._weights: NDArray[np.float32] = aligned_zeros(capacity, np.float32)
        self._end = 0

    def stem(self) -> Convolution:
        """[32, 3, 3, 3] as [2][3 x 3 x RGB][16]."""
        scale, shift = self._reader.normalisation("_bn0", STEM_CHANNELS)
        kernels = self._reader.take("_conv_stem.weight", (STEM_CHANNELS, 3, 3, 3))
        return self._matrix(kernels.transpose(0, 2, 3, 1).reshape(STEM_CHANNELS, 27), scale, shift)

    def pointwise(self, name: str, norm: str, inputs: int, outputs: int) -> Convolution:
        """[outputs, inputs, 1, 1] as [blocks][inputs][16]."""
        scale, shift = self._reader.normalisation(norm, outputs)
        rows = self._reader.take(f"{name}.weight", (outputs, inputs, 1, 1)).reshape(outputs, inputs)
        return self._matrix(rows, scale, shift)

    def depthwise(self, name: str, norm: str, channels: int, kernel: int) -> Convolution:
        """[channels, 1, kernel, kernel] as [kernel][kernel][16 blocks]."""
        scale, shift = self._reader.normalisation(norm, channels)
        kernels = self._reader.take(f"{name}.weight", (channels, 1, kernel, kernel))
        at, taps = self._reserve(kernel * kernel, blocks_of(channels) * LANES)
        np.multiply(kernels.reshape(channels, -1).T, scale, out=taps[:, :channels])
        return Convolution(at, self._bias(shift), kernel * kernel, channels)

    def finish(self) -> NDArray[np.float32]:
        return self._weights[: self._end]

    def _matrix(
        self, rows: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32]
    ) -> Convolution:
        """rows: [outputs, inputs], each row times its scale. Channels of padding stay 0."""
        outputs, inputs = rows.shape
        at, packed = self._reserve(blocks_of(outputs), inputs, LANES)
        for block, target in enumerate(packed):
            part = slice(block * LANES, min((block + 1) * LANES, outputs))
            np.multiply(rows[part].T, scale[part], out=target[:, : part.stop - part.start])
        return Convolution(at, self._bias(shift), inputs, outputs)

    def _bias(self, shift: NDArray[np.float32]) -> int:
        at, bias = self._reserve(blocks_of(shift.size) * LANES)
        bias[: shift.size] = shift
        return at

    def _reserve(self, *shape: int) -> tuple[int, NDArray[np.float32]]:
        """The offset of the next part, and its zeros as an array of this shape."""
        at, self._end = self._end, self._end + math.prod(shape)
        return at, self._weights[at : self._end].reshape(shape)
