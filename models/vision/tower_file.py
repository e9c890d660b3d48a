"""The packed file of a vision tower, which is made from the checkpoint once and then memory-mapped.

The file has a header page (offsets of each layer, a CRC-32), followed by the weights, the classifier and its bias, all
float32. Its name contains the checkpoint's sha256. A file that does not match in every respect is made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from models.core.cache import mark_used, packed_name
from models.core.errors import UserError
from models.core.files import file_digest, write_whole
from models.core.packed_file import PAGE, header_page, read_header
from models.vision.efficientnet import (
    CLASSES,
    HEAD_CHANNELS,
    Convolution,
    PackedBlock,
    PackedTower,
    pack_tower,
)

VERSION = 1
_MAGIC = b"EDGEEYES"


def load_or_pack_tower(checkpoint: Path, digest: str, folder: Path) -> PackedTower:
    """The tower of a checkpoint, from its packed file in the folder or packed now.

    digest: sha256 (hex) of the checkpoint. Raises UserError when the checkpoint is damaged or of another kind. If the
    packed file cannot be written, the checkpoint is packed again at the next start (0.1 s).
    """
    path = folder / f"{packed_name(digest)}-tower-v{VERSION}.pack"
    packed = open_tower(path, digest)
    if packed is not None:
        mark_used(path)
        return packed
    if file_digest(checkpoint) != digest:
        raise UserError(
            f"{checkpoint} is damaged: its sha256 is not the published one; remove the model "
            "(`edge-app models remove`) and pull it again."
        )
    from models.formats.torch_checkpoint import read_checkpoint  # only the first start needs it

    packed = pack_tower(read_checkpoint(checkpoint))
    with suppress(OSError, UserError):
        write_whole(path, _content(packed, digest))
    return packed


def open_tower(path: Path, digest: str) -> PackedTower | None:
    """Map a packed file. None when it is missing, damaged, or of another checkpoint or version."""
    try:
        mapped = np.memmap(path, np.uint8, mode="c").view(np.ndarray)
    except (OSError, ValueError):  # missing, or empty
        return None
    header = read_header(_MAGIC, mapped[:PAGE].tobytes())
    rest = mapped[PAGE:]
    if header is None or header["digest"] != digest or zlib.crc32(rest.data) != header["check"]:
        return None
    values = rest.view(np.float32)
    weights, classifier, bias = np.split(values, [-CLASSES * (HEAD_CHANNELS + 1), -CLASSES])
    return PackedTower(
        Convolution(*header["stem"]),
        tuple(_block(fields) for fields in header["blocks"]),
        Convolution(*header["head"]),
        weights,
        classifier.reshape(CLASSES, HEAD_CHANNELS),
        bias,
    )


def _content(packed: PackedTower, digest: str) -> bytes:
    """The bytes of the packed file."""
    rest = b"".join(
        array.astype(np.float32, copy=False).tobytes()
        for array in (packed.weights, packed.classifier, packed.classifier_bias)
    )
    header = {
        "digest": digest,
        "check": zlib.crc32(rest),
        "stem": astuple(packed.stem),
        "head": astuple(packed.head),
        "blocks": [astuple(block) for block in packed.blocks],
    }
    return header_page(_MAGIC, header) + rest


def _block(fields: Sequence[Any]) -> PackedBlock:
    """The inverse of dataclasses.astuple."""
    expand, depthwise, project, *how = fields
    return PackedBlock(
        Convolution(*expand) if expand else None, Convolution(*depthwise), Convolution(*project), *how
    )
