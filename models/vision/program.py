"""Plans the vision tower as a list of kernel calls, with their sizes and their offsets in the work buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.vision.efficientnet import LANES, Convolution, PackedBlock, PackedTower
from models.vision.preprocess import SIDE, VIEWS

SLACK_ROWS = 16
"""Pixels behind each map that a kernel may overwrite. No less than models.vision.kernels.Tiles.pixels."""

CHUNK = 60
"""Pixels that a thread computes for one group of channel blocks before it takes the next group.

It is small, so that threads share the small maps evenly. From 60 to 400 the speed changes by less than 5%.
"""

TAPS = {6: "s8", 14: "s16"}
"""Blocks whose output stays in the work buffer: the last at stride 8 and the last at stride 16."""


@dataclass(frozen=True)
class Call:
    """A call of a compiled function. scalars: its integer arguments; the work buffer and the weights follow them."""

    function: str
    scalars: tuple[int, ...]


@dataclass(frozen=True)
class ResultView:
    """A result in the work buffer: [VIEWS, pixels, channels] at offset `at`, with rows of `stride` floats."""

    at: int
    pixels: int
    stride: int
    channels: int

    def view(self, work: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = work[self.at : self.at + VIEWS * self.pixels * self.stride]
        return rows.reshape(VIEWS, self.pixels, self.stride)[:, :, : self.channels]


@dataclass(frozen=True)
class Program:
    """calls: in order. size, input_at: size of the work buffer and offset of the input, in floats.

    results: "s8", "s16", "grid" and "pool".
    """

    calls: tuple[Call, ...]
    size: int
    input_at: int
    results: Mapping[str, ResultView]

    def input(self, work: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input within the work buffer, [VIEWS, SIDE + 1, SIDE + 1, 3]. Its last row and column must stay zero."""
        end = self.input_at + VIEWS * (SIDE + 1) ** 2 * 3
        return work[self.input_at : end].reshape(VIEWS, SIDE + 1, SIDE + 1, 3)


def plan(tower: PackedTower) -> Program:
    """The program for VIEWS views of SIDE x SIDE pixels."""
    planner = _Planner()
    planner.stem(tower.stem)
    for index, block in enumerate(tower.blocks):
        planner.block(block, TAPS.get(index))
    planner.head(tower.head)
    return planner.finish()


@dataclass(frozen=True)
class _Map:
    """An activation map, [VIEWS, side, side, channels], with channels padded to whole blocks of 16."""

    region: str
    side: int
    channels: int

    @property
    def blocks(self) -> int:
        return -(-self.channels // LANES)

    @property
    def pixels(self) -> int:
        return VIEWS * self.side * self.side


class _Planner:
    """Collects calls that name regions of the work buffer. `finish` gives the regions their offsets.

    Maps share the regions "even", "odd", "expanded" and "filtered" in turn, because no more than these are needed at
    a time. The input and the results have regions of their own.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {"input": VIEWS * (SIDE + 1) ** 2 * 3}
        self._calls: list[tuple[str, tuple[int | str, ...]]] = []
        self._results: dict[str, _Map] = {}
        self._current = _Map("input", SIDE, 3)

    def stem(self, layer: Convolution) -> None:
        target = self._map("even", SIDE // 2, layer.channels)
        self._call("stem", VIEWS, target.side, "input", target.region, layer.weights_at, layer.bias_at)
        self._current = target

    def block(self, block: PackedBlock, tap: str | None) -> None:
        """Add a block. tap: the region of its result if that is one of the program's results."""
        source = hidden = self._current
        if block.expand:
            hidden = self._pointwise(block.expand, source, "expanded", relu=True)
        filtered = self._depthwise(block, hidden)
        region = tap or ("odd" if source.region == "even" else "even")
        self._current = self._pointwise(
            block.project, filtered, region, relu=False, residual=source if block.adds else None
        )
        if tap:
            self._results[tap] = self._current

    def head(self, layer: Convolution) -> None:
        """Add the last convolution and the mean over its map."""
        grid = self._pointwise(layer, self._current, "grid", relu=True)
        pool = self._map("pool", 1, layer.channels)
        self._call("average", VIEWS, grid.side**2, grid.blocks, grid.region, pool.region)
        self._results |= {"grid": grid, "pool": pool}

    def finish(self) -> Program:
        """The program, with offsets in place of regions."""
        offsets: dict[str, int] = {}
        end = 0
        for region, size in self._sizes.items():
            offsets[region] = end
            end += -(-size // LANES) * LANES
        calls = tuple(
            Call(function, tuple(offsets[value] if isinstance(value, str) else value for value in scalars))
            for function, scalars in self._calls
        )
        results = {
            name: ResultView(offsets[made.region], made.side**2, made.blocks * LANES, made.channels)
            for name, made in self._results.items()
        }
        return Program(calls, end, offsets["input"], results)

    def _pointwise(
        self, layer: Convolution, source: _Map, region: str, relu: bool, residual: _Map | None = None
    ) -> _Map:
        """Add a 1x1 convolution into a region. residual: a map that is added to the result."""
        target = self._map(region, source.side, layer.channels)
        self._call(
            "pointwise",
            source.pixels,
            layer.inputs,
            source.blocks * LANES,
            target.blocks,
            CHUNK,
            source.region,
            target.region,
            residual.region if residual else -1,
            int(relu),
            layer.weights_at,
            layer.bias_at,
        )
        return target

    def _depthwise(self, block: PackedBlock, source: _Map) -> _Map:
        """Add a depthwise convolution into the region "filtered"."""
        outputs = -(-source.side // block.stride)
        padding = max((outputs - 1) * block.stride + block.kernel - source.side, 0)  # TensorFlow's "same"
        target = self._map("filtered", outputs, source.channels)
        self._call(
            f"depthwise_{block.kernel}_{block.stride}",
            VIEWS,
            source.side,
            outputs,
            padding // 2,
            source.blocks,
            source.region,
            target.region,
            block.depthwise.weights_at,
            block.depthwise.bias_at,
        )
        return target

    def _map(self, region: str, side: int, channels: int) -> _Map:
        """A map in a region, which grows to hold it."""
        made = _Map(region, side, channels)
        size = (made.pixels + SLACK_ROWS) * made.blocks * LANES
        self._sizes[region] = max(size, self._sizes.get(region, 0))
        return made

    def _call(self, function: str, *scalars: int | str) -> None:
        self._calls.append((function, scalars))
