"""Runs the compiled vision tower, EfficientNet-Lite2, over both views of an image.

The same image gives the same bits for any number of threads. One Python thread must make all calls of a tower, since
they share its work buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.compiler import threads
from models.compiler.compile import compile_or_load
from models.compiler.cpu import KernelPath
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.types import Image, Progress, no_progress
from models.vision.efficientnet import PackedTower
from models.vision.preprocess import SIDE, Prepared, prepare
from models.vision.program import plan


@dataclass(frozen=True)
class TowerFeatures:
    """The features of one image. The arrays are copies.

    pool: float32 [1280], the pooled features, mean of both views.
    grid: float32 [81, 1280], the last map of the squashed view (9 x 9), row by row.
    colour: float32 [128], histograms of the squashed view (see models.vision.preprocess).
    stages: earlier and finer maps of the squashed view: "s8" float32 [1089, 48] (33 x 33) and "s16" float32
        [289, 120] (17 x 17); empty unless requested.
    """

    pool: NDArray[np.float32]
    grid: NDArray[np.float32]
    colour: NDArray[np.float32]
    stages: dict[str, NDArray[np.float32]]


class VisionTower:
    """EfficientNet-Lite2 with its weights and its work buffer."""

    def __init__(self, packed: PackedTower, library: Library, thread_count: int) -> None:
        self.packed = packed
        self._threads = thread_count
        self._program = plan(packed)
        self._work: NDArray[np.float32] = aligned_zeros(self._program.size, np.float32)
        tensors = as_tensor(self._work), as_tensor(packed.weights)
        self._calls = [(library[call.function], (*call.scalars, *tensors)) for call in self._program.calls]

    @classmethod
    def load(
        cls,
        packed: PackedTower,
        path: KernelPath,
        cache_dir: Path,
        thread_count: int,
        progress: Progress = no_progress,
    ) -> VisionTower:
        """packed: from models.vision.tower_file. cache_dir: the folder of compiled code, which is made if missing.

        progress: receives the stage "compile".
        """
        library = compile_or_load(
            "vision", "models.vision.kernels:tower_module", {}, path, cache_dir, progress
        )
        return cls(packed, library, thread_count)

    def features(self, image: Image, maps: bool = False) -> TowerFeatures:
        """The features of an image. maps: whether to copy the maps of earlier stages."""
        return self.features_of(prepare(image.pixels), maps)

    def features_of(self, prepared: Prepared, maps: bool = False) -> TowerFeatures:
        """The features of an image that is already prepared."""
        threads.use_threads(self._threads)
        self._program.input(self._work)[:, :SIDE, :SIDE] = prepared.views
        for function, arguments in self._calls:
            function(*arguments)
        results = {name: place.view(self._work) for name, place in self._program.results.items()}
        return TowerFeatures(
            pool=results["pool"][:, 0].mean(axis=0),  # [VIEWS, 1, 1280]
            grid=results["grid"][0].copy(),  # view 0: the squashed image
            colour=prepared.colour,
            stages={name: results[name][0].copy() for name in ("s8", "s16") if maps},
        )
