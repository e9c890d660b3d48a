"""Image to tiles for vision encoders of the Idefics3 family, byte for byte as transformers makes them with Pillow.

The image is resized so that its long side has a fixed length, then stretched to whole tiles and cut row by row. The
whole image, resized to one tile, comes last. Without splitting it is the only tile. Every step rounds to uint8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.model_settings import ModelSettings

MAX_SIDE: Final = 4096
"""The longest side in pixels of a resized image; longer settings are capped."""

DEFAULT_TILES_A_SIDE: Final = 4
"""longest_edge over the tile's side where a GGUF file does not say it, as in the published checkpoints."""

_LANCZOS: Final = PIL.Image.Resampling.LANCZOS


@dataclass(frozen=True)
class TileSettings:
    """How an image is cut.

    tile: side of a tile in pixels. longest_edge: length in pixels of the long side before it is cut; smaller images
    are enlarged. splitting: False makes one tile of the whole image.
    """

    tile: int
    longest_edge: int
    splitting: bool = True

    def unsplit(self) -> TileSettings:
        """The same settings with one tile an image."""
        return replace(self, splitting=False)


@dataclass(frozen=True)
class ImageTiles:
    """An image cut into tiles.

    tiles: uint8 [n, 3, tile, tile], RGB: row by row, then the whole image. rows, cols: how many there are of each; 0
    and 0 when the whole image is the only tile.
    """

    tiles: NDArray[np.uint8]
    rows: int
    cols: int


def cut(pixels: NDArray[np.uint8], settings: TileSettings) -> ImageTiles:
    """Cut an image. pixels: RGB, uint8 [height, width, 3]."""
    tile = settings.tile
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    rows, cols = grid_of(image.size, settings)
    image = image.resize(_long_side_to(image.size, settings.longest_edge), _LANCZOS)
    if settings.splitting:
        image = image.resize(_whole_tiles(image.size, tile), _LANCZOS)
        if not rows:
            return ImageTiles(_channels_first(image)[None], 0, 0)
        squares = _channels_first(image).reshape(3, rows, tile, cols, tile).transpose(1, 3, 0, 2, 4)
        parts = [squares.reshape(rows * cols, 3, tile, tile)]
    else:
        parts = []
    whole = image.resize((tile, tile), _LANCZOS)
    return ImageTiles(np.concatenate([*parts, _channels_first(whole)[None]]), rows, cols)


def grid_of(size: tuple[int, int], settings: TileSettings) -> tuple[int, int]:
    """Rows and columns of tiles beside the whole image; 0 and 0 when that is the only tile. size: width and height."""
    if not settings.splitting:
        return 0, 0
    width, height = _whole_tiles(_long_side_to(size, settings.longest_edge), settings.tile)
    rows, cols = height // settings.tile, width // settings.tile
    return (0, 0) if (rows, cols) == (1, 1) else (rows, cols)


def pixel_values(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the vision encoder computes with: (x / 255 - 0.5) / 0.5 as float32, of the same shape as `tiles`."""
    scaled = (tiles.astype(np.float64) * (1 / 255)).astype(np.float32)
    return (scaled - np.float32(0.5)) / np.float32(0.5)


def directory_tile_settings(directory: Path, image_size: int) -> TileSettings:
    """The settings of a Hugging Face checkpoint.

    They are in preprocessor_config.json, or under "image_processor" in processor_config.json, which transformers 5
    writes. image_size: side in pixels of the vision encoder's input.
    Raises UserError when neither file has them or when they ask for something else than `cut` does.
    """
    path, values = _image_processor(directory)
    tile = _longest_edge(path, values, "max_image_size", image_size)
    if tile != image_size:
        raise UserError(
            f"{path} cuts images into tiles of {tile} pixels, but the vision encoder reads {image_size} pixels"
        )
    expected = {
        "do_resize": True, "do_rescale": True, "do_normalize": True, "resample": int(_LANCZOS),
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    for key, value in expected.items():
        if values.get(key, value) != value:
            raise UserError(f"{path} has {key} = {values[key]!r}; only {value!r} is supported")
    scale = ModelSettings(path, values).number("rescale_factor", 1 / 255)
    if not math.isclose(scale, 1 / 255, rel_tol=1e-6):
        raise UserError(f"{path} has rescale_factor = {scale}; only 1/255 is supported")
    longest = _longest_edge(path, values, "size", DEFAULT_TILES_A_SIDE * image_size)
    return TileSettings(tile, longest, bool(values.get("do_image_splitting", True)))


def gguf_tile_settings(path: Path, metadata: Mapping[str, Any]) -> TileSettings:
    """The settings of an mmproj file. path: for messages.

    clip.vision.image_size is the side of a tile, clip.vision.preproc_image_size the longest edge. Files made before
    May 2025 lack the second. Raises UserError when one of them is no usable length.
    """
    key = "clip.vision.image_size"
    tile = _checked_edge(path, key, metadata.get(key))
    key = "clip.vision.preproc_image_size"
    return TileSettings(tile, _checked_edge(path, key, metadata.get(key, DEFAULT_TILES_A_SIDE * tile)))


def _image_processor(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    path = directory / "preprocessor_config.json"
    if path.exists():
        return path, read_json(path)
    path = directory / "processor_config.json"
    values = read_json(path).get("image_processor") if path.exists() else None
    if not isinstance(values, dict):
        raise UserError(
            f"{directory} has no settings for images: preprocessor_config.json, or image_processor in "
            "processor_config.json; download the checkpoint again"
        )
    return path, values


def _longest_edge(path: Path, values: Mapping[str, Any], key: str, default: int) -> int:
    entry = values.get(key)
    value = entry.get("longest_edge", default) if isinstance(entry, dict) else entry or default
    return _checked_edge(path, key, value)


def _checked_edge(path: Path, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1 << 16:
        raise UserError(f"{path} has {key} = {value!r}, which is no length in pixels")
    return value


def _long_side_to(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height with the long side at `longest` and the short one even, at most MAX_SIDE each."""
    width, height = size
    ratio = width / height
    if width >= height:
        short = int(longest / ratio)
        size = longest, max(short + short % 2, 1)
    else:
        short = int(longest * ratio)
        size = max(short + short % 2, 1), longest
    if longest <= MAX_SIDE:
        return size
    ratio = size[0] / size[1]
    if size[0] >= size[1]:
        return MAX_SIDE, max(int(MAX_SIDE / ratio), 1)
    return max(int(MAX_SIDE * ratio), 1), MAX_SIDE


def _whole_tiles(size: tuple[int, int], tile: int) -> tuple[int, int]:
    """Width and height as multiples of `tile`: the long side rounded up, the short one from it, rounded up."""
    width, height = size
    ratio = width / height
    if width >= height:
        width = _round_up(width, tile)
        return width, _round_up(int(width / ratio), tile)
    height = _round_up(height, tile)
    return _round_up(int(height * ratio), tile), height


def _round_up(length: int, tile: int) -> int:
    return -(-length // tile) * tile


def _channels_first(image: PIL.Image.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
