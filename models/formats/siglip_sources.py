"""Vision towers from an mmproj GGUF file or a Hugging Face directory.

Tensors get the names of models/formats/siglip_weights.py. Features that the kernels cannot compute are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import file_digest, read_json
from models.formats.float_matrix import FloatType, float_type
from models.formats.gguf.gguf_blocks import BLOCK_DECODERS
from models.formats.gguf.gguf_file import GgufFile
from models.formats.hugging_face import open_tensors, siglip_config
from models.formats.llama_sources import directory_digest
from models.formats.llama_weights import Precision
from models.formats.model_settings import MOST_LAYERS, ModelSettings
from models.formats.quantization import GROUP, QuantizedMatrix, quantise, to_8_bits
from models.formats.safetensors_file import SafetensorsFile
from models.formats.siglip_weights import SiglipConfig, SiglipWeights

PROJECTOR_TYPE = "idefics3"

_GGUF_NAMES = {
    "v.patch_embd": "patch_embedding", "v.position_embd": "positions", "v.post_ln": "final_norm",
    "mm.model.fc": "connector",
    "ln1": "norm1", "attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_out": "o", "ln2": "norm2",
    "ffn_up": "fc1", "ffn_down": "fc2",
}  # fmt: skip
_HUGGING_FACE_NAMES = {
    "vision_model.embeddings.patch_embedding": "patch_embedding",
    "vision_model.embeddings.position_embedding": "positions",
    "vision_model.post_layernorm": "final_norm",
    "connector.modality_projection.proj": "connector",
    "layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.q_proj": "q", "self_attn.k_proj": "k",
    "self_attn.v_proj": "v", "self_attn.out_proj": "o", "mlp.fc1": "fc1", "mlp.fc2": "fc2",
}  # fmt: skip
_TOP_LEVEL = ("patch_embedding", "positions", "final_norm", "connector")
_VISION_TENSOR = re.compile(r"(?:model\.)*(?=vision_model\.|connector\.)")
_MLP_TENSOR = re.compile(r"(?P<layer>layers\.\d+)\.(?P<role>fc[12])\.(?P<part>weight|bias)")
_COMPUTED = "embeddings.position_ids"  # stored by old versions of transformers; always 0, 1, 2 and so on


def load_siglip(path: Path, digest: str | None = None, precision: Precision = "int8") -> SiglipWeights:
    """Open the vision tower and connector in an mmproj GGUF file or in a directory with config.json.

    digest: the source's sha256 (hex). None computes it. Raises UserError when something is missing, damaged or not
    supported.
    """
    if path.is_dir():
        return SiglipWeights(SiglipHuggingFaceSource(path), digest or directory_digest(path), precision)
    return SiglipWeights(MmprojSource(GgufFile(path)), digest or file_digest(path), precision)


def mmproj_config(path: str | Path, metadata: Mapping[str, Any]) -> SiglipConfig:
    """The configuration in the metadata of an mmproj file. path: for messages. Raises UserError.

    Old files lack projection_dim and epsilon, or say 1e-5 where the checkpoint has 1e-6, which has no visible effect.
    """
    values = ModelSettings(path, metadata)
    architecture = values.scalar("general.architecture")
    if architecture != "clip" or values.scalar("clip.has_vision_encoder", True) is not True:
        raise UserError(f"{path} has the architecture {architecture!r}; it is no vision tower (mmproj)")
    kind = values.scalar("clip.projector_type", values.scalar("clip.vision.projector_type"))
    if kind != PROJECTOR_TYPE:
        raise UserError(f"{path}: projector_type {kind} is not supported; only {PROJECTOR_TYPE} is")
    if values.scalar("clip.use_silu") or values.scalar("clip.use_gelu") is False:
        raise UserError(f"{path} has an activation other than gelu, which is not supported")
    for key in ("clip.vision.image_mean", "clip.vision.image_std"):
        given = metadata.get(key, [])
        if not (isinstance(given, list | np.ndarray) and all(np.array_equal(value, 0.5) for value in given)):
            raise UserError(f"{path} has {key} other than 0.5, which is not supported")
    return SiglipConfig(
        hidden=values.integer("clip.vision.embedding_length"),
        inner=values.integer("clip.vision.feed_forward_length"),
        layers=values.integer("clip.vision.block_count", most=MOST_LAYERS),
        heads=values.integer("clip.vision.attention.head_count"),
        image_size=values.integer("clip.vision.image_size"),
        patch=values.integer("clip.vision.patch_size"),
        norm_eps=values.number("clip.vision.attention.layer_norm_epsilon", 1e-6),
        scale_factor=values.integer("clip.vision.projector.scale_factor"),
        text_hidden=values.integer("clip.vision.projection_dim"),
    )


def mmproj_rows(path: str | Path, metadata: Mapping[str, Any]) -> int:
    """The rows that a tile becomes, as SiglipConfig.rows. path: for messages. Raises UserError."""
    values = ModelSettings(path, metadata)
    side = values.integer("clip.vision.image_size") // values.integer("clip.vision.patch_size")
    return (side // values.integer("clip.vision.projector.scale_factor")) ** 2


class MmprojSource:
    """A GGUF file of the architecture "clip" with the projector type idefics3.

    Files made before May 2025 have the names of the two matrices of the MLP, and of their biases, exchanged. Each is
    told by its shape. In a tower whose MLP is as wide as the tower itself the shapes are the same, and the names
    are believed.
    """

    def __init__(self, file: GgufFile) -> None:
        self.path = file.path
        self._file = file
        metadata = dict(file.metadata)
        if (connector := file.tensors.get("mm.model.fc.weight")) is not None:
            # Some files say the tower's width there.
            metadata["clip.vision.projection_dim"] = connector.shape[0]
        self.config = mmproj_config(file.path, metadata)
        self._names = {
            self._told_by_shape(_own_name(name, r"v\.blk\.(\d+)\.(.+)", _GGUF_NAMES), info.shape): name
            for name, info in file.tensors.items()
        }

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            name: _as_rows(name, self._file.tensors[stored].shape) for name, stored in self._names.items()
        }

    def floats(self, name: str) -> NDArray[np.float32]:
        stored = self._names[name]
        info = self._file.tensors[stored]
        decode = BLOCK_DECODERS.get(info.type)
        values = decode(self._file.blocks(stored)).dequantise() if decode else self._file.floats(stored)
        return values.reshape(_as_rows(name, info.shape))

    def matrix(self, name: str) -> QuantizedMatrix:
        stored = self._names[name]
        decode = BLOCK_DECODERS.get(self._file.tensors[stored].type)
        return to_8_bits(decode(self._file.blocks(stored))) if decode else _quantise_padded(self.floats(name))

    def float_type(self, name: str) -> FloatType:
        return float_type(self._file.tensors[self._names[name]].type)

    def _told_by_shape(self, name: str, shape: tuple[int, ...]) -> str:
        """The name of a tensor, with fc1 and fc2 exchanged when it has as many outputs as the other one."""
        match = _MLP_TENSOR.fullmatch(name)
        outputs = {"fc1": self.config.inner, "fc2": self.config.hidden}
        if match is None or shape[0] == outputs[match["role"]]:
            return name
        other = "fc2" if match["role"] == "fc1" else "fc1"
        return f"{match['layer']}.{other}.{match['part']}" if shape[0] == outputs[other] else name


class SiglipHuggingFaceSource:
    """A directory with config.json and safetensors files of a model with a vision tower, of which this reads that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = siglip_config(path / "config.json", read_json(path / "config.json"))
        self._files: dict[str, tuple[SafetensorsFile, str]] = {}
        for stored, file in open_tensors(path).items():
            prefix = _VISION_TENSOR.match(stored)
            if prefix is None or stored.endswith(_COMPUTED):
                continue
            bare = stored[prefix.end() :]
            name = _own_name(bare, r"vision_model\.encoder\.layers\.(\d+)\.(.+)", _HUGGING_FACE_NAMES)
            name = stored if name == bare else name
            if name in self._files:
                raise UserError(f"{path} has the tensor {stored} twice; remove the file that is not wanted")
            self._files[name] = (file, stored)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {
            name: _as_rows(name, file.tensors[stored].shape) for name, (file, stored) in self._files.items()
        }

    def floats(self, name: str) -> NDArray[np.float32]:
        file, stored = self._files[name]
        values = file.floats(stored)
        return values.reshape(_as_rows(name, values.shape))

    def matrix(self, name: str) -> QuantizedMatrix:
        return _quantise_padded(self.floats(name))

    def float_type(self, name: str) -> FloatType:
        file, stored = self._files[name]
        return float_type(file.tensors[stored].type)


def _own_name(stored: str, layer_pattern: str, names: Mapping[str, str]) -> str:
    """The name of a stored tensor in models/formats/siglip_weights.py, or the stored name when it has none there."""
    base, _, part = stored.rpartition(".")
    layer = re.fullmatch(layer_pattern, base)
    name = names.get(layer[2] if layer else base)
    if name is None or part not in ("weight", "bias") or (name in _TOP_LEVEL) == bool(layer):
        return stored
    if name == "positions":
        return name if part == "weight" else stored
    return f"layers.{layer[1]}.{name}.{part}" if layer else f"{name}.{part}"


def _as_rows(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The patch embedding is stored as [hidden, channels, patch, patch]; its rows are the filters."""
    return (shape[0], prod(shape[1:])) if name == "patch_embedding.weight" and len(shape) == 4 else shape


def _quantise_padded(values: NDArray[np.float32]) -> QuantizedMatrix:
    """float32 [out, inputs] in 8 bits, with columns of zeros up to a multiple of 32 inputs."""
    return quantise(np.pad(values, ((0, 0), (0, -values.shape[1] % GROUP))), 8)
