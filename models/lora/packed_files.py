"""Cache of packed LoRAs on disk, so that loading an adapter means reading a file.

A file is one header page, then the packed tensor (models/packing/lora_layout.py). It is copied to huge pages, or mapped
copy-on-write. It is found by the adapter's name, the model and the signature of the adapter's files, and carries a
checksum. The model is part of it because the factors of a DoRA, and whether an adapter runs on floats, depend on the
model's weights. A file that is damaged or does not match counts as missing. Every file can be made again from the
adapter's folder.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.core.cache import mark_used
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.huge_pages import packed_content
from models.core.packed_file import PAGE, header_page, read_header
from models.lora.weights import PackedLora
from models.packing.llama_shape import LlamaShape
from models.packing.lora_layout import LoraLayout

VERSION = 6
SUFFIX = ".lora"
_MAGIC = b"EDGELORA"
_THIS_VERSION = f"-v{VERSION}{SUFFIX}"
_KEY = 16  # hexadecimal digits each for the model and for the signature


class PackedFiles:
    """The packed LoRAs of one model in a folder."""

    def __init__(self, folder: Path, shape: LlamaShape, weights: str) -> None:
        """shape: of the model that they run on. weights: digest (hex) of the model's weights."""
        self._folder = folder
        self._layout = LoraLayout(shape)
        self._floats = shape.float_type is not None
        self._model_key = _digest([VERSION, asdict(shape), weights])

    def open(self, name: str, signature: object) -> PackedLora | None:
        """The LoRA of the adapter whose files have this signature; None when no intact file holds it."""
        path = self._path(name, signature)
        try:
            with path.open("rb") as file:
                content, check = packed_content(file, path)
        except (OSError, ValueError):  # missing, or empty
            return None
        header, tensor = read_header(_MAGIC, content[:PAGE].tobytes()), np.asarray(content[PAGE:])
        if header is None or len(tensor) != self._layout.size(header["rank"], header["factored"]):
            return None
        if check != header["check"]:
            return None
        mark_used(path)
        facts = (header["generation"], header["rank"], tensor, header["factored"])
        return PackedLora(name, *facts, floats=self._floats)

    def write(self, packed: PackedLora, signature: object) -> None:
        """Write the LoRA and remove files of other versions of adapter and format. Errors of the disk are ignored."""
        path = self._path(packed.name, signature)
        content = _page(packed) + packed.tensor.tobytes()
        with suppress(OSError, UserError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            for other in _files(self._folder, packed.name):
                if other != path and (_of_other_version(other) or self._model_key in other.name):
                    other.unlink(missing_ok=True)

    def _path(self, name: str, signature: object) -> Path:
        return self._folder / f"{name}-{self._model_key}{_digest(signature)}{_THIS_VERSION}"


def forget(folder: Path, name: str) -> None:
    """Remove the files of an adapter, for all models. Errors of the disk are ignored."""
    for file in _files(folder, name):
        with suppress(OSError):
            file.unlink()


def _files(folder: Path, name: str) -> list[Path]:
    """The files of an adapter, of all versions: those before 5 have no version in their names."""
    key = "[0-9a-f]" * 2 * _KEY
    return [*folder.glob(f"{name}-{key}{SUFFIX}"), *folder.glob(f"{name}-{key}-v*{SUFFIX}")]


def _of_other_version(file: Path) -> bool:
    return not file.name.endswith(_THIS_VERSION)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:_KEY]


def _page(packed: PackedLora) -> bytes:
    facts = {"generation": packed.generation, "rank": packed.rank, "factored": packed.factored}
    return header_page(_MAGIC, {**facts, "check": zlib.crc32(packed.tensor.data)})
