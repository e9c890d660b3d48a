"""Adapters on disk as the kernels read them: what reading and packing gave, kept so that a load is a mapping.

A file is a page of header, then the packed tensor (models.lora.weights), to be mapped copy-on-write. It is found by
the adapter's name, the model's shape and the signature of the adapter's files, and carries a checksum; what
does not fit in every respect is not there. An adapter's own projector heads are not in it: they are read from
the adapter's folder. Everything here can be made again. Knows nothing of what is in memory.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from models.core.cache import mark_used
from models.core.cache_header import PAGE, header_page, read_header
from models.core.errors import UserError
from models.core.files import write_whole
from models.lora.weights import LoraLayout, PackedLora, ReadsText
from models.packing.packed_model import LlamaShape

VERSION = 1
SUFFIX = ".lora"
_MAGIC = b"EDGELORA"
_KEY = 16  # hexadecimal digits each for the shape and for the signature


class PackedFiles:
    """The packed files of one model's shape in a folder."""

    def __init__(self, folder: Path, shape: LlamaShape) -> None:
        self._folder = folder
        self._layout = LoraLayout(shape)
        self._shape_key = _digest([VERSION, asdict(shape)])

    def open(self, name: str, signature: object) -> PackedLora | None:
        """The adapter whose files have this signature, without projector heads; None when it is not there."""
        path = self._path(name, signature)
        try:
            mapped = np.memmap(path, np.uint8, mode="c").view(np.ndarray)
        except (OSError, ValueError):  # missing, or empty
            return None
        header = read_header(_MAGIC, mapped[:PAGE].tobytes())
        tensor = mapped[PAGE:]
        if header is None or header["ocr"] not in get_args(ReadsText):
            return None
        if len(tensor) != self._layout.size(header["rank"]):
            return None
        if zlib.crc32(tensor.data) != header["check"]:
            return None
        mark_used(path)
        return PackedLora(
            name, header["generation"], header["rank"], tensor, None, header["ocr"], header["words"]
        )

    def write(self, packed: PackedLora, signature: object) -> None:
        """Keep the adapter in place of what was kept of it. A disk that refuses costs time, not the answer."""
        path = self._path(packed.name, signature)
        content = _page(packed) + packed.tensor.tobytes()
        with suppress(OSError, UserError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            for other in self._folder.glob(f"{packed.name}-{self._shape_key}{'?' * _KEY}{SUFFIX}"):
                if other != path:
                    other.unlink(missing_ok=True)

    def _path(self, name: str, signature: object) -> Path:
        return self._folder / f"{name}-{self._shape_key}{_digest(signature)}{SUFFIX}"


def forget(folder: Path, name: str) -> None:
    """Remove what is kept of an adapter, for whatever model. What the disk refuses goes when it is unused."""
    for file in folder.glob(f"{name}-{'?' * 2 * _KEY}{SUFFIX}"):
        with suppress(OSError):
            file.unlink()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_KEY]


def _page(packed: PackedLora) -> bytes:
    header = {"generation": packed.generation, "rank": packed.rank, "ocr": packed.ocr, "words": packed.words}
    return header_page(_MAGIC, header | {"check": zlib.crc32(packed.tensor.data)})
