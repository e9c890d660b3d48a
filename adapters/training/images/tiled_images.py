"""The image rows of a model that looks at tiles, computed once by the engine that answers too, and kept on disk.

An image in 13 tiles has 832 rows, 2 MB in half precision, so the rows of many images do not fit in memory. They are
read from their files, one image at a time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.training.data import TrainingRow
from adapters.training.images.features import load_training_image
from adapters.training.token_rows import TrainingImage
from models.core.files import DAMAGED_NPZ, replacing
from models.core.types import Image
from models.vision.tiled.tile_encoder import TileEncoder

VERSION = 1
"""Version of the kept rows. Increase it when the cutting of images or the tower changes."""

SAID_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class KeptRows:
    """The rows of one image in a file; `[…]` reads it. count: of the rows. grid: rows and columns of its tiles."""

    file: Path
    count: int
    grid: tuple[int, int]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """The chosen rows, float32 [n, hidden]."""
        with np.load(self.file, allow_pickle=False) as stored:
            rows: NDArray[np.float32] = stored["rows"][chosen].astype(np.float32)
        return rows


class TiledImages:
    """Makes the training images of one model. Belongs to one thread, as the encoder does."""

    def __init__(self, encoder: TileEncoder, identity: str, cache_dir: Path) -> None:
        """identity: digest (hex) of the tower's weights, part of the name of the cache's folder."""
        self._encoder = encoder
        self._folder = cache_dir / "features" / f"{identity[:16]}-tiles-{VERSION}"

    def of(self, rows: Sequence[TrainingRow], say: Callable[[str], None]) -> dict[str, TrainingImage]:
        """Every image in the details in which the rows look at it, by TrainingRow.view.

        say: receives how many were looked at, and the minutes that are left. Raises UserError, naming the line, for an
        image that cannot be decoded.
        """
        first = {row.view: row for row in reversed(rows)}
        found = {}
        self._encoder.load()  # takes longer than an image
        started, said = time.monotonic(), float("-inf")
        looked = 0
        for done, (view, row) in enumerate(first.items(), 1):
            kept, is_new = self._one(row)
            looked += is_new
            found[view] = TrainingImage(row.digest, kept, grid=kept.grid)
            now = time.monotonic()
            if done == len(first) or (looked and now - said > SAID_EVERY):
                left = (now - started) / max(1, looked) * (len(first) - done) / 60
                say(f"looked at {done} of {len(first)} images, about {left:.1f} min left")
                said = now
        return found

    def _one(self, row: TrainingRow) -> tuple[KeptRows, bool]:
        """The rows of one image, and whether they were computed now."""
        image = load_training_image(row)
        file = self._file(image)
        try:
            with np.load(file, allow_pickle=False) as stored:
                high, wide = stored["grid"].tolist()
                return KeptRows(file, len(stored["rows"]), (high, wide)), False
        except FileNotFoundError:
            pass
        except DAMAGED_NPZ:
            file.unlink()  # damaged, so the rows are computed again
        seen = self._encoder.encode_tiles(image, self._encoder.cut(image))
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as stream:
            np.savez(stream, rows=seen.embeddings.astype(np.float16), grid=np.array(seen.grid))
        return KeptRows(file, len(seen.embeddings), seen.grid), True

    def _file(self, image: Image) -> Path:
        name = hashlib.sha256(self._encoder.key(image).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.npz"
