"""The packed file of a SigLIP tower and its connector, which is made from the weights once and then memory-mapped.

It has a header page, followed by the sections of models/vision/siglip/arguments.py, each at a multiple of PAGE. Its
name contains the digest of the weights. A file that does not match in every respect is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.cache import (
    PAGE,
    content_check,
    end_of,
    header_page,
    lay_out,
    mark_used,
    packed_name,
    read_header,
)
from models.core.errors import UserError
from models.core.files import alone, replacing, written_to
from models.core.types import Progress, no_progress
from models.formats.quantization import QuantizedMatrix, quantise
from models.formats.siglip_weights import SiglipConfig, SiglipWeights
from models.vision.siglip.arguments import WEIGHTS
from models.vision.siglip.shape import (
    GROUP,
    LINEAR_ROLES,
    VECTORS,
    SiglipShape,
    pack_panels,
    padded,
    panel_bytes,
)

VERSION = 2
PIXEL_SCALE = 127.5
"""A pixel x stands for x / 127.5 - 1 = ((x - 128) + 0.5) / 127.5. The kernels multiply with the code x - 128."""

_MAGIC = b"EDGEVITS"


@dataclass(frozen=True)
class PackedSiglip:
    """A mapped packed file. sections: flat arrays by the names of WEIGHTS, mapped copy-on-write."""

    config: SiglipConfig
    digest: str
    sections: dict[str, NDArray[Any]]

    @property
    def shape(self) -> SiglipShape:
        return shape_of(self.config)


def shape_of(config: SiglipConfig) -> SiglipShape:
    """The sizes that the kernels are compiled for. Raises UserError when they do not support them."""
    try:
        return SiglipShape(
            hidden=config.hidden,
            inner=config.inner,
            heads=config.heads,
            side=config.image_size // config.patch,
            patch=config.patch,
            shuffle=config.scale_factor,
            epsilon=config.norm_eps,
        )
    except ValueError as error:
        raise UserError(f"This vision tower cannot be run here: {error}.") from None


def load_or_pack_siglip(
    digest: str, read: Callable[[], SiglipWeights], packed_folder: Path, progress: Progress = no_progress
) -> PackedSiglip:
    """The packed file of the weights with this digest, written from read() when it is missing or damaged.

    digest: sha256 (hex) of the weights. Raises UserError when the disk refuses the file, and what read() raises.
    """
    path = packed_folder / f"{packed_name(digest)}-siglip-v{VERSION}.pack"
    with written_to(packed_folder, "make room there, or set EDGE_APP_HOME to another disk"):
        packed = open_siglip(path, digest)
        if packed is None:
            packed_folder.mkdir(parents=True, exist_ok=True)
            waiting = partial(
                progress, "pack", "waiting for another process to pack the vision tower", 0, None
            )
            with alone(path.with_suffix(".lock"), waiting):
                packed = open_siglip(path, digest) or _packed_now(path, digest, read, progress)
    mark_used(path)
    return packed


def _packed_now(
    path: Path, digest: str, read: Callable[[], SiglipWeights], progress: Progress
) -> PackedSiglip:
    """Pack the weights. The caller holds the lock, so unfinished files were left by processes that ended early."""
    for unfinished in path.parent.glob(f"{path.name}?*"):
        unfinished.unlink(missing_ok=True)
    write_siglip(path, digest, read(), progress)
    packed = open_siglip(path, digest)
    if packed is None:
        raise UserError(
            f"{path} does not read back as it was written: the disk is damaged; "
            "set EDGE_APP_HOME to another disk."
        )
    return packed


def write_siglip(path: Path, digest: str, weights: SiglipWeights, progress: Progress = no_progress) -> None:
    """Write the packed file. One matrix is in memory at a time. Raises OSError."""
    config = weights.config
    plan = _plan(config)
    place = {name: offset for name, (offset, _) in plan.items()}
    total = config.layers + 2
    with replacing(path) as file:
        for name, done, array in _arrays(weights):
            file.seek(place[name])
            file.write(array.tobytes())
            place[name] += array.nbytes
            progress("pack", "packing the vision tower", done, total)
        file.truncate(end_of(plan))
        file.seek(0)
        header = {"digest": digest, "config": asdict(config), "check": content_check(file)}
        file.seek(0)
        file.write(header_page(_MAGIC, header))


def open_siglip(path: Path, digest: str) -> PackedSiglip | None:
    """Map a packed file. None when it is missing, damaged, of another version or of other weights."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = read_header(_MAGIC, file.read(PAGE))
        if header is None or header["digest"] != digest:
            return None
        try:
            config = SiglipConfig(**header["config"])
        except (KeyError, TypeError):  # fields of another version; read_header has checked for damage
            return None
        plan = _plan(config)
        if path.stat().st_size != end_of(plan) or content_check(file) != header["check"]:
            return None
    mapped = np.memmap(path, dtype=np.uint8, mode="c")
    sections = {
        name: np.asarray(mapped[offset : offset + size]).view(WEIGHTS[name])
        for name, (offset, size) in plan.items()
    }
    return PackedSiglip(config, digest, sections)


def pack_connector(
    config: SiglipConfig, matrix: Callable[[], QuantizedMatrix], floats: Callable[[], Any]
) -> Any:
    """Pack the connector's matrix, flat uint8.

    matrix, floats: read it as 8-bit codes, or as float32 [text_hidden, hidden * s * s]. Where 32 does not divide
    hidden, each patch's part of a row is padded, so that groups do not reach over two patches.
    """
    if config.hidden % GROUP == 0:
        return pack_panels(matrix())
    parts = np.asarray(floats(), np.float32).reshape(config.text_hidden, -1, config.hidden)
    wide = np.pad(parts, ((0, 0), (0, 0), (0, padded(config.hidden) - config.hidden)))
    return pack_panels(quantise(wide.reshape(config.text_hidden, -1), 8))


def _arrays(weights: SiglipWeights) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """(section, number for the progress, array): the parts of every section in order, made one at a time."""
    config = weights.config
    shape = shape_of(config)
    # What is lost in rounding is stored as a second matrix: the pixels have exact codes, so that all errors of the
    # patch embedding would come from its weights, and would stay in the residual stream.
    first = weights.matrix("patch_embedding.weight")
    exact = weights.floats("patch_embedding.weight")
    exact = np.pad(exact, ((0, 0), (0, first.shape[1] - exact.shape[1])))
    second = quantise(exact - first.dequantise(), 8)
    for patch in (first, second):
        yield "patch", 0, pack_panels(patch)
    # The pixels' 0.5 / 127.5 is the same for every input: its product with the weights is part of the bias.
    half = (first.dequantise().astype(np.float64) + second.dequantise()).sum(axis=1) * (0.5 / PIXEL_SCALE)
    rows = weights.floats("positions") + weights.floats("patch_embedding.bias") + half.astype(np.float32)
    yield "positions", 0, _wide(rows.astype(np.float32), shape.width)
    for layer in range(config.layers):
        for role in LINEAR_ROLES:
            yield "layers", layer, pack_panels(weights.matrix(f"layers.{layer}.{role}.weight"))
        for name in VECTORS:
            yield "vectors", layer, _wide(weights.floats(f"layers.{layer}.{name}"), shape.vector(name))
    for name in ("final_norm.weight", "final_norm.bias"):
        yield "vectors", config.layers, _wide(weights.floats(name), shape.width)
    name = "connector.weight"
    yield (
        "connector",
        config.layers + 1,
        pack_connector(config, partial(weights.matrix, name), partial(weights.floats, name)),
    )


def _wide(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The last axis padded with zeros."""
    missing = width - values.shape[-1]
    padding = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
    return np.pad(values.astype(np.float32, copy=False), padding)


def _plan(config: SiglipConfig) -> dict[str, tuple[int, int]]:
    """Section -> (offset in the file, bytes). Sections start at multiples of PAGE."""
    shape = shape_of(config)
    sizes = {
        "patch": 2 * panel_bytes(shape.width, shape.pixel_width),
        "layers": config.layers * shape.layer_bytes,
        "connector": panel_bytes(padded(config.text_hidden), shape.connector_width),
        "positions": 4 * shape.patches * shape.width,
        "vectors": 4 * (config.layers * shape.layer_floats + 2 * shape.width),
    }
    return lay_out(sizes)
