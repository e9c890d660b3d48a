"""Rows of images on disk, so that a model need not look again at an image that it has seen in an earlier run.

A file is one header page with a checksum, then the rows as float32. It is found by what the rows depend on. A file that
is damaged counts as missing. The folder is bounded; the files that were used longest ago go first.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.core.cache import packed_name
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.packed_file import PAGE, header_page, read_header

VERSION: Final = 1
"""A change of the rows for the same image and weights, or of the file's format, must change this number."""

MAX_BYTES: Final = 256 << 20
"""Bytes of all files. An image in 13 tiles takes 3 MB in the model of 500 million weights."""

_MAGIC: Final = b"EDGEROWS"
_SUFFIX: Final = ".rows"


@dataclass(frozen=True)
class TiledImage:
    """An image as the vision encoder made it.

    embeddings: float32 [rows, text_hidden], tile by tile. grid: rows and columns of tiles beside the whole image.
    """

    embeddings: NDArray[np.float32]
    grid: tuple[int, int]


class FeatureFiles:
    """The files of one model."""

    def __init__(self, folder: Path, weights: str, tower: str) -> None:
        """folder: of the cache. weights: sha256 (hex) by which the model's files are removed.

        tower: identifies the tower, and how it computes.
        """
        self._folder = folder
        self._weights = weights
        self._tower = tower

    def find(self, *key: object) -> TiledImage | None:
        """The rows that were kept under this key; None when there are none or they are damaged.

        key: what they depend on beside the weights, as values that can be written as JSON.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        header, data = read_header(_MAGIC, content[:PAGE]), memoryview(content)[PAGE:]
        if header is None or header["check"] != zlib.crc32(data):
            return None
        with suppress(OSError):
            os.utime(path)
        rows = np.frombuffer(data, np.float32).reshape(-1, header["hidden"])
        return TiledImage(rows, (header["rows"], header["cols"]))

    def keep(self, image: TiledImage, *key: object) -> None:
        """Write rows under a key, and remove the oldest files beyond MAX_BYTES. Errors of the disk are ignored."""
        data = np.ascontiguousarray(image.embeddings, np.float32).tobytes()
        rows, cols = image.grid
        header = {
            "check": zlib.crc32(data), "hidden": image.embeddings.shape[1], "rows": rows, "cols": cols,
        }  # fmt: skip
        with suppress(OSError, UserError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), header_page(_MAGIC, header) + data)
            self._remove_oldest()

    def _path(self, key: tuple[object, ...]) -> Path:
        whole = json.dumps([VERSION, self._tower, *key])
        name = hashlib.sha256(whole.encode()).hexdigest()[:32]
        return self._folder / f"{packed_name(self._weights)}-{name}{_SUFFIX}"

    def _remove_oldest(self) -> None:
        files = [(file, file.stat()) for file in self._folder.glob(f"*{_SUFFIX}")]
        excess = sum(status.st_size for _, status in files) - MAX_BYTES
        for file, status in sorted(files, key=lambda each: each[1].st_mtime_ns):
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= status.st_size
