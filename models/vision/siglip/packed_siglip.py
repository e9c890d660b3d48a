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

from models.core.cache import packed_name
from models.core.errors import UserError
from models.core.files import replacing
from models.core.packed_file import (
    PAGE,
    content_check,
    end_of,
    header_page,
    lay_out,
    read_header,
    read_or_make,
)
from models.core.types import Progress, no_progress
from models.formats.float_matrix import FloatMatrix, FloatType
from models.formats.llama_weights import Precision
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
    """A mapped packed file. sections: flat arrays by the names of WEIGHTS, mapped copy-on-write.

    float_type: see models.formats.siglip_weights.SiglipWeights.
    """

    config: SiglipConfig
    digest: str
    sections: dict[str, NDArray[Any]]
    float_type: FloatType | None = None

    @property
    def shape(self) -> SiglipShape:
        return shape_of(self.config, self.float_type)


def shape_of(config: SiglipConfig, float_type: FloatType | None = None) -> SiglipShape:
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
            float_type=float_type,
        )
    except ValueError as error:
        raise UserError(f"This vision tower cannot be run here: {error}.") from None


def load_or_pack_siglip(
    digest: str,
    read: Callable[[], SiglipWeights],
    packed_folder: Path,
    progress: Progress = no_progress,
    precision: Precision = "int8",
) -> PackedSiglip:
    """The packed file of the weights with this digest, written from read() when it is missing or damaged.

    digest: sha256 (hex) of the weights. precision: of what read() returns.
    Raises UserError when the disk refuses the file, and what read() raises.
    """
    kind = "" if precision == "int8" else "-float"
    path = packed_folder / f"{packed_name(digest)}-siglip{kind}-v{VERSION}.pack"
    return read_or_make(
        path,
        lambda: open_siglip(path, digest),
        lambda: write_siglip(path, digest, read(), progress),
        partial(progress, "pack", "waiting for another process to pack the vision tower", 0, None),
    )


def write_siglip(path: Path, digest: str, weights: SiglipWeights, progress: Progress = no_progress) -> None:
    """Write the packed file. One matrix is in memory at a time. Raises OSError."""
    config = weights.config
    plan = _plan(config, weights.float_type)
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
        header: dict[str, Any] = {
            "digest": digest,
            "config": asdict(config),
            "float_type": weights.float_type,
        }
        header["check"] = content_check(file)
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
        float_type = header.get("float_type")  # files of earlier versions have none
        plan = _plan(config, float_type)
        if path.stat().st_size != end_of(plan) or content_check(file) != header["check"]:
            return None
    mapped = np.memmap(path, dtype=np.uint8, mode="c")
    sections = {
        name: np.asarray(mapped[offset : offset + size]).view(WEIGHTS[name])
        for name, (offset, size) in plan.items()
    }
    return PackedSiglip(config, digest, sections, float_type)


def pack_connector(
    config: SiglipConfig,
    matrix: Callable[[], QuantizedMatrix | FloatMatrix],
    floats: Callable[[], Any],
    as_floats: bool,
) -> Any:
    """Pack the connector's matrix, flat uint8.

    matrix, floats: read it as 8-bit codes, or as float32 [text_hidden, hidden * s * s]. Where 32 does not divide
    hidden, each patch's part of a row is padded, so that groups do not reach over two patches.
    as_floats: whether it becomes float32 instead of 8 bits.
    """
    if config.hidden % GROUP == 0 and not as_floats:
        return pack_panels(matrix())
    parts = np.asarray(floats(), np.float32).reshape(config.text_hidden, -1, config.hidden)
    wide = np.pad(parts, ((0, 0), (0, 0), (0, padded(config.hidden) - config.hidden)))
    rows = wide.reshape(config.text_hidden, -1)
    return pack_panels(FloatMatrix("f32", rows) if as_floats else quantise(rows, 8))


def _arrays(weights: SiglipWeights) -> Iterator[tuple[str, int, NDArray[Any]]]:
    """(section, number for the progress, array): the parts of every section in order, made one at a time."""
    config = weights.config
    shape = shape_of(config, weights.float_type)
    rows = weights.floats("positions") + weights.floats("patch_embedding.bias")
    patches = [weights.matrix("patch_embedding.weight")]
    if weights.float_type is None:
        # What is lost in rounding is stored as a second matrix: the pixels have exact codes, so that all errors of the
        # patch embedding would come from its weights, and would stay in the residual stream.
        exact = weights.floats("patch_embedding.weight")
        exact = np.pad(exact, ((0, 0), (0, patches[0].shape[1] - exact.shape[1])))
        patches.append(quantise(exact - patches[0].dequantise(), 8))
        # The pixels' 0.5 / 127.5 is the same for every input: its product with the weights is part of the bias.
        both = sum(patch.dequantise().astype(np.float64) for patch in patches)
        rows = rows + (np.sum(both, axis=1) * (0.5 / PIXEL_SCALE)).astype(np.float32)
    for patch in patches:
        yield "patch", 0, pack_panels(patch)
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
        pack_connector(
            config, partial(weights.matrix, name), partial(weights.floats, name), shape.float_type is not None
        ),
    )


def _wide(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The last axis padded with zeros."""
    missing = width - values.shape[-1]
    padding = [(0, 0)] * (values.ndim - 1) + [(0, missing)]
    return np.pad(values.astype(np.float32, copy=False), padding)


def _plan(config: SiglipConfig, float_type: FloatType | None) -> dict[str, tuple[int, int]]:
    """Section -> (offset in the file, bytes). Sections start at multiples of PAGE."""
    shape = shape_of(config, float_type)
    patches = 2 if float_type is None else 1
    sizes = {
        "patch": patches * panel_bytes(shape.width, shape.pixel_width, float_type),
        "layers": config.layers * shape.layer_bytes,
        "connector": panel_bytes(padded(config.text_hidden), shape.connector_width, shape.exact_type),
        "positions": 4 * shape.patches * shape.width,
        "vectors": 4 * (config.layers * shape.layer_floats + 2 * shape.width),
    }
    return lay_out(sizes)
