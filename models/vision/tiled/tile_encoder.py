"""A vision encoder that looks at an image tile by tile: cuts it, encodes each tile, and keeps the rows on disk.

One tile takes from a tenth of a second to several seconds. Progress is reported before each, and a callback that raises
an exception stops between two tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.types import Image, Progress, no_progress
from models.vision.siglip.adapter import PackedVisionLora
from models.vision.tiled.feature_files import FeatureFiles, TiledImage
from models.vision.tiled.tiles import ImageTiles, TileSettings, cut, grid_of


class TileTower(Protocol):
    """Encodes tiles, such as models.vision.siglip.encoder.SiglipEncoder."""

    def encode(self, tile: NDArray[np.uint8], adapter: PackedVisionLora | None = None) -> NDArray[np.float32]:
        """The rows of one tile. tile: uint8 [3, s, s]. Returns float32 [rows, text_hidden]."""
        ...


LoadTower = Callable[[Progress], TileTower]
"""Loads the tower and reports the stages. Raises UserError when a file is damaged or does not fit."""


class TileEncoder:
    """The vision encoder of one model. One thread must make all calls."""

    feature_size = 0  # it has no features for the router

    def __init__(
        self,
        load: LoadTower,
        settings: TileSettings,
        tile_rows: int,
        files: FeatureFiles,
        most_rows: int,
    ) -> None:
        """load: called once, by `load` or with the first image that is not on disk.

        tile_rows: rows of a tile. most_rows: the rows of one image that the language model's context has room for.
        """
        self._load = load
        self._loaded: TileTower | None = None
        self._settings = settings
        self._tile_rows = tile_rows
        self._files = files
        self._most_rows = most_rows

    def load(self, progress: Progress = no_progress) -> TileTower:
        """The tower, loaded now if it is not in memory yet."""
        if self._loaded is None:
            self._loaded = self._load(progress)
        return self._loaded

    def settings(self, image: Image) -> TileSettings:
        """How an image is cut: as the checkpoint says, or in one piece when its detail is "low"."""
        return self._settings.unsplit() if image.detail == "low" else self._settings

    def plan(self, image: Image) -> tuple[tuple[int, int], int]:
        """The grid of an image's tiles, as in TiledImage, and the number of its rows. Nothing is computed."""
        height, width = image.pixels.shape[:2]
        rows, cols = grid_of((width, height), self.settings(image))
        return (rows, cols), self._tile_rows * (rows * cols + 1)

    def key(self, image: Image) -> str:
        """Identifies the rows of an image without an adapter."""
        cut_as = self.settings(image)
        return f"{image.digest} {cut_as.tile} {cut_as.longest_edge} {cut_as.splitting}"

    def encode(
        self, image: Image, adapter: PackedVisionLora | None = None, progress: Progress = no_progress
    ) -> TiledImage:
        """The image's rows, from disk or from `encode_tiles`. adapter, progress: see there."""
        key = [self.key(image), *([] if adapter is None else [adapter.generation])]
        known = self._files.find(*key)
        if known is None:
            known = self.encode_tiles(image, self.cut(image), adapter, progress)
            self._files.keep(known, *key)
        return known

    def cut(self, image: Image) -> ImageTiles:
        """The tiles of an image."""
        return cut(image.pixels, self.settings(image))

    def encode_tiles(
        self,
        image: Image,
        tiles: ImageTiles,
        adapter: PackedVisionLora | None = None,
        progress: Progress = no_progress,
    ) -> TiledImage:
        """The rows of an image's tiles, tile by tile.

        adapter: what an adapter changes of the tower and connector; None for nothing. progress: receives the stages of
        loading, and "encode" with the number of tiles done. Raises UserError, before the first tile, when the context
        has no room for them.
        """
        if (count := self._tile_rows * len(tiles.tiles)) > self._most_rows:
            raise UserError(
                f"{image.name} takes {count} tokens in {len(tiles.tiles)} tiles; the context has {self._most_rows}. "
                "Look at it less closely (detail low), or set context_length to more."
            )
        tower = self.load(progress)
        rows = []
        for number, tile in enumerate(tiles.tiles):
            progress("encode", f"Looking at {image.name}", number, len(tiles.tiles))
            rows.append(tower.encode(tile, adapter))
        return TiledImage(np.concatenate(rows), (tiles.rows, tiles.cols))
