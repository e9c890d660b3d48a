"""Tiles are those of transformers byte for byte, and the settings are found wherever a checkpoint has them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from models.core.errors import UserError
from models.core.images import load_image
from models.vision.tiled.tiles import (
    TileSettings,
    cut,
    directory_tile_settings,
    gguf_tile_settings,
    pixel_values,
)
from tests.fixtures import numerics
from tests.fixtures.numerics.tile_cases import CASES, TileCase

EXPECTED = json.loads((Path(numerics.__file__).parent / "tiles.json").read_text())
PREPROCESSOR = {
    "do_image_splitting": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    "max_image_size": {"longest_edge": 64}, "resample": 1, "size": {"longest_edge": 256},
}  # fmt: skip


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tiles_are_those_of_transformers_byte_for_byte(case: TileCase) -> None:
    expected = EXPECTED[case.name]
    made = cut(load_image(case.file()).pixels, TileSettings(case.tile, case.longest, case.splitting))
    assert list(made.tiles.shape) == expected["shape"]
    assert (made.rows, made.cols) == (expected["rows"], expected["cols"])
    assert digest(made.tiles) == expected["tiles"]
    assert digest(pixel_values(made.tiles)) == expected["pixel_values"]


@pytest.mark.parametrize(
    ("size", "resized"), [((90, 211), (54, 128)), ((333, 777), (54, 128)), ((211, 90), (128, 54))]
)
def test_tall_and_wide_images_are_resized_in_the_order_that_pillow_takes(
    size: tuple[int, int], resized: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    made = cut(pixels, TileSettings(64, 128, splitting=False))
    image = PIL.Image.fromarray(pixels)
    for step in (resized, (64, 64)):
        image = image.resize(step, PIL.Image.Resampling.LANCZOS)
    assert np.array_equal(made.tiles[-1], np.asarray(image).transpose(2, 0, 1))


def test_an_ordinary_photo_is_cut_into_three_by_four_tiles_and_the_whole() -> None:
    made = cut(load_image(TileCase(640, 480, 512, 2048).file()).pixels, TileSettings(512, 2048))
    assert (len(made.tiles), made.rows, made.cols) == (13, 3, 4)


def test_an_image_that_is_not_split_is_one_tile_and_not_none() -> None:
    pixels = load_image(TileCase(640, 480, 64, 256).file()).pixels
    made = cut(pixels, TileSettings(64, 256).unsplit())
    assert (len(made.tiles), made.rows, made.cols) == (1, 0, 0)


def write(folder: Path, **files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_settings_are_read_from_preprocessor_config(tmp_path: Path) -> None:
    folder = write(tmp_path, preprocessor_config=PREPROCESSOR, processor_config={"image_seq_len": 4})
    assert directory_tile_settings(folder, 64) == TileSettings(64, 256, True)
    write(tmp_path, preprocessor_config=PREPROCESSOR | {"rescale_factor": None})
    assert directory_tile_settings(folder, 64) == TileSettings(64, 256, True)


def test_settings_are_read_from_processor_config_of_newer_checkpoints(tmp_path: Path) -> None:
    own = PREPROCESSOR | {"do_image_splitting": False}
    folder = write(tmp_path, processor_config={"image_seq_len": 4, "image_processor": own})
    assert directory_tile_settings(folder, 64) == TileSettings(64, 256, False)


def test_a_checkpoint_without_settings_for_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no settings for images"):
        directory_tile_settings(write(tmp_path, processor_config={"image_seq_len": 4}), 64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"resample": 3}, "resample = 3"),
        ({"image_std": [0.3] * 3}, "image_std"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"rescale_factor": "x"}, "rescale_factor"),
        ({"rescale_factor": [1 / 255]}, "rescale_factor"),
        ({"max_image_size": {"longest_edge": 32}}, "tiles of 32 pixels"),
        ({"size": {"longest_edge": "large"}}, "no length in pixels"),
    ],
)
def test_settings_that_would_give_other_tiles_are_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        directory_tile_settings(write(tmp_path, preprocessor_config=PREPROCESSOR | changed), 64)


def test_an_mmproj_says_the_longest_edge_or_means_four_tiles() -> None:
    path, size, longest = Path("mmproj.gguf"), "clip.vision.image_size", "clip.vision.preproc_image_size"
    assert gguf_tile_settings(path, {size: 512}) == TileSettings(512, 2048)
    assert gguf_tile_settings(path, {size: 384, longest: 1536}) == TileSettings(384, 1536)
    for metadata in ({size: 384, longest: -5}, {size: "large"}, {}):
        with pytest.raises(UserError, match="no length in pixels"):
            gguf_tile_settings(path, metadata)


def test_transparent_parts_are_white_as_everywhere_in_the_app() -> None:
    stored = io.BytesIO()
    PIL.Image.new("RGBA", (20, 10), (200, 0, 0, 0)).save(stored, "PNG")
    made = cut(load_image(stored.getvalue()).pixels, TileSettings(16, 32))
    assert np.array_equal(made.tiles, np.full_like(made.tiles, 255))
