"""EfficientNet-Lite2 in PyTorch, which computes the features that training reads.

The layers are those of models.vision.efficientnet, with TensorFlow's "same" padding and a batch normalisation epsilon
of 1e-3, as in the published weights. Tests compare the compiled tower with this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.vision.efficientnet import CLASSES, EPSILON, HEAD_CHANNELS, STAGES, STEM_CHANNELS


class TowerOutput(NamedTuple):
    """grid: float32 [n, 1280, 9, 9] for 260 x 260 pixels. pool: float32 [n, 1280], its mean over the positions."""

    pool: Tensor
    grid: Tensor


class SamePaddedConv(nn.Conv2d):  # type: ignore[misc]  # torch has no types here
    """A convolution with output size ceil(input / stride). Odd padding is added at the right and the bottom."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
    ):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, padding))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class InvertedResidual(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Expand (1x1), depthwise, project (1x1); the input is added if the shapes are equal. Attributes have the names of
    the published tensors."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SamePaddedConv(inputs, hidden, 1)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = SamePaddedConv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = _norm(hidden)
        self._project_conv = SamePaddedConv(hidden, outputs, 1)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite2(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Input: float32 [n, 3, 260, 260], RGB as (x - 127) / 128."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePaddedConv(3, STEM_CHANNELS, 3, stride=2)
        self._bn0 = _norm(STEM_CHANNELS)
        blocks: list[InvertedResidual] = []
        channels = STEM_CHANNELS
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion)
                )
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePaddedConv(channels, HEAD_CHANNELS, 1)
        self._bn1 = _norm(HEAD_CHANNELS)
        self._fc = nn.Linear(HEAD_CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> TowerOutput:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        grid = functional.relu6(self._bn1(self._conv_head(x)))
        return TowerOutput(grid.mean(dim=(2, 3)), grid)

    def classify(self, pool: Tensor) -> Tensor:
        """Logits [n, 1000] of pooled features [n, 1280]. Classes are in the order of their WordNet ids."""
        return cast(Tensor, self._fc(pool))


def load_tower(tensors: Mapping[str, NDArray[Any]]) -> EfficientNetLite2:
    """The frozen tower. tensors: from models.formats.torch_checkpoint."""
    tower = EfficientNetLite2()
    tower.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
    tower.eval().requires_grad_(False)
    return tower
