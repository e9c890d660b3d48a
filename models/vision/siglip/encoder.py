"""Runs a compiled SigLIP tower with its connector: a tile of pixels to rows of a language model.

The same tile gives the same bits for any number of threads. One Python thread must make all calls of an encoder,
since they share its memory.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiler import threads
from models.compiler.compile import compile_or_load
from models.compiler.cpu import KernelPath
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.types import Progress, no_progress
from models.vision.siglip.adapter import PackedVisionLora, plain_factors
from models.vision.siglip.arguments import ADAPTER, MASKED, WEIGHTS, memory_sizes, memory_types
from models.vision.siglip.packed_siglip import PIXEL_SCALE, PackedSiglip
from models.vision.siglip.shape import GROUP, TILE_ROWS, padded


class SiglipEncoder:
    """A vision tower and its connector, with their memory (13 MB for 1024 patches 768 wide).

    rows: of the language model that a tile becomes. functions: the compiled functions by phase, in their order;
    benchmarks wrap them to measure the time.
    """

    def __init__(self, packed: PackedSiglip, library: Library, thread_count: int) -> None:
        self.config, self.shape, self.rows = packed.config, packed.shape, packed.shape.output_rows
        self._packed = packed
        self._threads = thread_count
        self._panels = padded(self.config.text_hidden) // 32
        shape = self.shape
        sizes, types = memory_sizes(shape, self._panels, thread_count), memory_types(shape)
        self._memory = {name: aligned_zeros(sizes[name], dtype) for name, dtype in types.items()}
        if shape.float_type is None:
            self._memory["pixel_scales"][:] = 1 / PIXEL_SCALE
        self._memory["key_masks"][shape.patches :] = MASKED
        arrays = {"factors": plain_factors(self.config), "lora": aligned_zeros(64, np.uint8)}
        self._plain = PackedVisionLora(0, 0, arrays)
        self.functions = {
            name: library[f"siglip_{name}"] for name in ("embed", "project", "attend", "mlp", "connect")
        }
        self._adapter: PackedVisionLora | None = None
        self._tensors: tuple[Any, ...] = ()
        self._use(self._plain)

    @classmethod
    def load(
        cls,
        packed: PackedSiglip,
        path: KernelPath,
        compiled_dir: Path,
        thread_count: int,
        progress: Progress = no_progress,
    ) -> SiglipEncoder:
        """packed: from load_or_pack_siglip. compiled_dir: the folder of compiled code, which is made if missing.

        progress: receives the stage "compile".
        """
        library = compile_or_load(
            "siglip",
            "models.vision.siglip.functions:build",
            asdict(packed.shape),
            path,
            compiled_dir,
            progress,
        )
        return cls(packed, library, thread_count)

    def encode(self, tile: NDArray[np.uint8], adapter: PackedVisionLora | None = None) -> NDArray[np.float32]:
        """The rows of a tile for the language model.

        tile: uint8 [3, s, s], RGB. adapter: made for this tower; None for the plain one. Returns float32
        [rows, text_hidden], a copy, in the order Y then X.
        """
        self._use(adapter or self._plain)
        self._run(tile, self.config.layers)
        self._call("connect", 0)
        rows = self._memory["output"].reshape(-1, 32 * self._panels)
        return rows[: self.shape.output_rows, : self.config.text_hidden].copy()

    def hidden_states(self, tile: NDArray[np.uint8], layers: int) -> NDArray[np.float32]:
        """The plain tower's residual stream behind the first `layers` layers: float32 [patches, hidden], a copy."""
        self._use(self._plain)
        self._run(tile, layers)
        stream = self._memory["x"].reshape(-1, self.shape.width)
        return stream[: self.shape.patches, : self.config.hidden].copy()

    def _run(self, tile: NDArray[np.uint8], layers: int) -> None:
        threads.use_threads(self._threads)
        self._put_pixels(tile)
        self._call("embed", 0)
        for layer in range(layers):
            for name in ("project", "attend", "mlp"):
                self._call(name, layer)

    def _call(self, name: str, layer: int) -> None:
        config, shape = self.config, self.shape
        factor_base, vector_base = config.layers * shape.layer_factors, config.layers * shape.layer_floats
        groups = 0 if self._adapter is None else self._adapter.rank_groups
        lora_base = groups * config.layers * shape.layer_lora_bytes
        scalars = (layer, groups, lora_base, factor_base, vector_base, self._panels, self._threads)
        self.functions[name](*scalars, *self._tensors)

    def _put_pixels(self, tile: NDArray[np.uint8]) -> None:
        """Cut the tile into patches.

        They become int8 codes pixel - 128, and -128 times their sum, by groups of 32; or pixel / 127.5 - 1.
        """
        shape, config = self.shape, self.config
        side, patch = shape.side, config.patch
        if tile.shape != (3, config.image_size, config.image_size) or tile.dtype != np.uint8:
            raise ValueError(
                f"a tile of {tile.shape} {tile.dtype}, not uint8 {(3, *[config.image_size] * 2)}"
            )
        seen = tile[:, : side * patch, : side * patch].reshape(3, side, patch, side, patch)
        rows = np.full((shape.tiles * TILE_ROWS, shape.pixel_width), 128, np.uint8)
        # [channel, Y, y, X, x] -> [Y, X, channel, y, x]
        rows[: shape.patches, : 3 * patch * patch] = seen.transpose(1, 3, 0, 2, 4).reshape(shape.patches, -1)
        groups = shape.pixel_width // GROUP
        # [tile, row, group, 32] -> [tile, group, row, 32]
        cells = rows.reshape(shape.tiles, TILE_ROWS, groups, GROUP).transpose(0, 2, 1, 3)
        if shape.float_type is not None:
            np.divide(cells, PIXEL_SCALE, self._memory["pixel_values"].reshape(cells.shape), dtype=np.float32)
            self._memory["pixel_values"] -= 1
            return
        cells = (cells ^ np.uint8(128)).view(np.int8)
        self._memory["pixel_codes"].view(np.int8).reshape(cells.shape)[...] = cells
        self._memory["pixel_offsets"].reshape(cells.shape[:3])[...] = cells.sum(axis=3, dtype=np.int32) * -128

    def _use(self, adapter: PackedVisionLora) -> None:
        """Make the functions' arguments those with this adapter."""
        if self._adapter is adapter:
            return
        weights = {name: adapter.arrays.get(name, self._packed.sections[name]) for name in WEIGHTS}
        arrays = weights | {name: adapter.arrays[name] for name in ADAPTER} | self._memory
        self._tensors = tuple(as_tensor(array) for array in arrays.values())
        self._adapter = adapter
