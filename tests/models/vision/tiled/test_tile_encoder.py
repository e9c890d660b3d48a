"""An image is looked at tile by tile, once, and not again by a later process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.types import Detail, Image, Progress, Stage, no_progress
from models.vision.siglip.adapter import PackedVisionLora
from models.vision.tiled import feature_files
from models.vision.tiled.feature_files import FeatureFiles, TiledImage
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tiled.tiles import TileSettings

TILE, ROWS, HIDDEN = 16, 2, 4


class CountingTower:
    """Makes rows of a tile's mean colour and counts the tiles."""

    rows = ROWS

    def __init__(self) -> None:
        self.seen = 0

    def encode(self, tile: NDArray[np.uint8], adapter: PackedVisionLora | None = None) -> NDArray[np.float32]:
        assert tile.shape == (3, TILE, TILE)
        self.seen += 1
        more = 0 if adapter is None else adapter.generation
        return np.full((ROWS, HIDDEN), tile.mean() + more, np.float32)


def encoder(
    folder: Path,
    tower: CountingTower,
    weights: str = "a" * 64,
    model: str = "b" * 64,
    most_rows: int = 13 * ROWS,
) -> TileEncoder:
    def load(progress: Progress) -> CountingTower:
        progress("load", "the tower", 1, 1)
        return tower

    return TileEncoder(load, TileSettings(TILE, 64), ROWS, FeatureFiles(folder, weights, model), most_rows)


def picture(number: int = 1, width: int = 40) -> Image:
    pixels = np.random.default_rng(number).integers(0, 256, (30, width, 3)).astype(np.uint8)
    return Image(pixels, f"digest-{number}", f"{number}.png")


def test_the_rows_of_all_tiles_follow_each_other(tmp_path: Path) -> None:
    tower = CountingTower()
    seen = encoder(tmp_path, tower).encode(picture())
    assert seen.grid == (3, 4)
    assert seen.embeddings.shape == (13 * ROWS, HIDDEN)
    assert tower.seen == 13


@pytest.mark.parametrize("detail", ["low", "high"])
@pytest.mark.parametrize("width", [30, 31, 40, 300])
def test_the_rows_of_an_image_are_known_before_it_is_cut(tmp_path: Path, width: int, detail: Detail) -> None:
    image, tower = replace(picture(width=width), detail=detail), CountingTower()
    made = encoder(tmp_path, tower, most_rows=10_000)
    grid, rows = made.plan(image)
    assert tower.seen == 0
    seen = made.encode(image)
    assert (seen.grid, len(seen.embeddings)) == (grid, rows)


def test_an_image_that_exceeds_the_context_is_refused_before_its_first_tile(tmp_path: Path) -> None:
    tower = CountingTower()
    small = encoder(tmp_path, tower, most_rows=13 * ROWS - 1)
    with pytest.raises(
        UserError, match=r"1\.png takes 26 tokens in 13 tiles; the context has 25.*detail low"
    ):
        small.encode(picture())
    assert tower.seen == 0
    assert small.encode(replace(picture(), detail="low")).grid == (0, 0)


def test_low_detail_is_one_tile_and_has_a_key_of_its_own(tmp_path: Path) -> None:
    tower = CountingTower()
    made, low = encoder(tmp_path, tower), replace(picture(), detail="low")
    assert made.encode(low).grid == (0, 0)
    assert tower.seen == 1
    assert made.key(low) != made.key(picture())


def test_an_image_is_not_looked_at_again_after_a_restart(tmp_path: Path) -> None:
    first = encoder(tmp_path, CountingTower()).encode(picture())
    tower = CountingTower()
    again = encoder(tmp_path, tower).encode(picture())
    assert tower.seen == 0
    assert again.grid == first.grid
    assert np.array_equal(again.embeddings, first.embeddings)


@pytest.mark.parametrize("changed", ["image", "tower", "detail", "bytes"])
def test_rows_of_something_else_are_never_taken(tmp_path: Path, changed: str) -> None:
    encoder(tmp_path, CountingTower()).encode(picture())
    tower, image, model = CountingTower(), picture(), "b" * 64
    match changed:
        case "image":
            image = picture(2)
        case "tower":
            model = "c" * 64
        case "detail":
            image = replace(image, detail="low")
        case "bytes":
            (file,) = tmp_path.glob("*.rows")
            file.write_bytes(file.read_bytes()[:-1] + b"x")
    encoder(tmp_path, tower, model=model).encode(image)
    assert tower.seen > 0


def test_progress_is_told_tile_by_tile_and_stops_between_tiles(tmp_path: Path) -> None:
    tower = CountingTower()
    told: list[tuple[Stage, int, int | None]] = []

    def stop_at_third(stage: Stage, message: str, done: int, total: int | None) -> None:
        del message
        told.append((stage, done, total))
        if stage == "encode" and done == 2:
            raise InterruptedError

    made = encoder(tmp_path, tower)
    with pytest.raises(InterruptedError):
        made.encode(picture(), progress=stop_at_third)
    assert told == [("load", 1, 1), ("encode", 0, 13), ("encode", 1, 13), ("encode", 2, 13)]
    assert tower.seen == 2
    assert not list(tmp_path.glob("*.rows"))
    assert made.encode(picture(), progress=no_progress).grid == (3, 4)


def test_an_adapter_of_the_tower_has_rows_of_its_own(tmp_path: Path) -> None:
    adapters = [None, PackedVisionLora(5, 0, {}), PackedVisionLora(9, 0, {})]
    made, low = encoder(tmp_path, CountingTower()), replace(picture(), detail="low")
    plain, *others = [made.encode(low, adapter).embeddings for adapter in adapters]
    for adapter, rows in zip(adapters[1:], others, strict=True):
        assert adapter is not None
        np.testing.assert_allclose(rows, plain + adapter.generation)
    again = encoder(tmp_path, tower := CountingTower())
    assert np.array_equal(again.encode(low, adapters[1]).embeddings, others[0])
    assert tower.seen == 0


def test_the_files_used_longest_ago_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FeatureFiles(tmp_path, "a" * 64, "b" * 64)
    image = TiledImage(np.zeros((100, HIDDEN), np.float32), (0, 0))
    for number in range(3):
        files.keep(image, number)
    kept = sorted(tmp_path.glob("*.rows"), key=lambda file: file.stat().st_mtime_ns)
    for age, file in enumerate(reversed(kept)):
        os.utime(file, (1e9 - age, 1e9 - age))
    assert files.find(0) is not None  # used now
    monkeypatch.setattr(feature_files, "MAX_BYTES", 3 * kept[0].stat().st_size)
    files.keep(image, 3)
    assert [files.find(number) is not None for number in range(4)] == [True, False, True, True]


def test_a_full_disk_costs_time_alone(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert encoder(blocked, CountingTower()).encode(picture()).grid == (3, 4)
