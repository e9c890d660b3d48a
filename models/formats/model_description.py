"""Says of a model, from its configuration alone, whether it can run, as what family, and in how much memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.float_matrix import FLOAT_BITS, common_type
from models.formats.gguf.gguf_file import GgufFile
from models.formats.hugging_face import VISION_LANGUAGE_TYPES, llama_config, model_type, siglip_config
from models.formats.llama_sources import GgufSource
from models.formats.llama_weights import (
    LINEAR_ROLES,
    LlamaConfig,
    Precision,
    check_llama_config,
    check_llama_tensors,
    expected_llama_shapes,
    is_symmetric,
    linear_names,
    widened_roles,
)
from models.formats.mlc.package import CONFIG_FILE as MLC_CONFIG_FILE
from models.formats.mlc.package import is_mlc_package
from models.formats.mlc.weights import FLOAT_ENDS, FOUR_BITS, mlc_llama_config
from models.formats.siglip_sources import MmprojSource
from models.formats.siglip_weights import SiglipConfig, check_siglip_config, check_siglip_tensors

LLAMA, IDEFICS3 = "llama", "idefics3"  # families, see models/families/registry.py

SMALL_MODEL: Final = 64 << 20
"""Bytes. A model whose files of weights have at most this size computes in float, because its speed is no concern."""

# Bytes of a packed weight by its bits: its code, and the float16 scale (and minimum) of 32 weights. 16 bits are two
# codes of 8.
_BYTES = {4: 5 / 8, 8: 17 / 16, 16: 17 / 8}
_SYMMETRIC_BYTES = _BYTES | {4: 9 / 16}  # without a minimum, as in Q4_0
_TOWER_BYTES = 9 / 8  # 8 bits, and a float32 scale for 32 weights
_WORKING_BYTES = 96 << 20  # compiled code, activations and logits


@dataclass(frozen=True)
class FamilyDescription:
    """What a model is.

    family: the name in a catalog entry. language, vision: its configurations; vision is None for text alone.
    weight_bytes: of the packed weights, which stay mapped while the model runs. float_bytes: the same for a model that
    computes in float.
    """

    family: str
    language: LlamaConfig
    vision: SiglipConfig | None
    weight_bytes: int
    float_bytes: int

    def memory(self, context_length: int = 4096, precision: Precision = "int8") -> int:
        """Bytes that the model needs while it runs, with a KV cache (float16) of so many positions."""
        language = self.language
        positions = min(context_length, language.max_position_embeddings)
        cache = 2 * 2 * language.num_layers * language.num_kv_heads * language.head_dim * positions
        weights = self.weight_bytes if precision == "int8" else self.float_bytes
        return weights + cache + _WORKING_BYTES


def default_precision(size: int) -> Precision:
    """How a model computes without an adapter. size: of its files of weights, in bytes."""
    return "float" if size <= SMALL_MODEL else "int8"


def describe_config(settings: Mapping[str, Any], path: str | Path = "config.json") -> FamilyDescription:
    """The model that config.json of Hugging Face or mlc-chat-config.json describes. path: for messages.

    Raises UserError, which lists the model types that can run, when this one cannot.
    """
    if "quantization" in settings and "model_config" in settings:
        language = mlc_llama_config(path, settings)
        check_llama_config(path, language)
        kind = settings["quantization"]
        bits = {"embedding": 8 if kind in FOUR_BITS and kind != FLOAT_ENDS else 16}
        bits |= dict.fromkeys(LINEAR_ROLES, 4 if kind in FOUR_BITS else 8)
        bits["head"] = 8 if kind == FLOAT_ENDS else bits["q"]
        symmetric = kind in FOUR_BITS
        return _description(
            language, None, lambda name: bits[_role(name)], symmetric, 32 if symmetric else 16
        )
    language, vision = llama_config(path, settings), None
    check_llama_config(path, language)
    if model_type(path, settings) in VISION_LANGUAGE_TYPES:
        vision = siglip_config(path, settings)
        check_siglip_config(path, vision)
    kind = settings.get("dtype", settings.get("torch_dtype"))
    return _description(
        language,
        vision,
        lambda name: 16 if name == "embedding" else 8,
        symmetric=False,
        float_bits=32 if kind == "float32" else 16,
    )


def describe_files(directory: Path, language_model: Path | None, mmproj: Path | None) -> FamilyDescription:
    """The model in these files, of which only the headers and the configuration are read. Raises UserError.

    directory: of the model. language_model, mmproj: GGUF files; None for a model that is a directory.
    """
    if language_model is not None:
        return describe_gguf(GgufFile(language_model), None if mmproj is None else GgufFile(mmproj))
    config = directory / (MLC_CONFIG_FILE if is_mlc_package(directory) else "config.json")
    return describe_config(read_json(config), config)


def describe_gguf(language: GgufFile, mmproj: GgufFile | None = None) -> FamilyDescription:
    """The model in a GGUF file, with the vision tower in its mmproj file.

    Raises UserError when it cannot run or lacks tensors. Of the files only the headers are read.
    """
    source = GgufSource(language)
    check_llama_tensors(source)
    vision = None
    if mmproj is not None:
        tower = MmprojSource(mmproj)
        check_siglip_tensors(tower)
        vision = tower.config
        if vision.text_hidden != source.config.hidden_size:
            raise UserError(
                f"{mmproj.path} makes rows of {vision.text_hidden} numbers, but the language model reads "
                f"{source.config.hidden_size}; the two files belong to different models"
            )
    widened = widened_roles(source)

    def bits(name: str) -> int:
        if name == "embedding":
            return 16 if source.is_float(name) else 8
        return 8 if _role(name) in widened else source.bits(name)

    kind = common_type(map(source.float_type, ["embedding", *linear_names(source.config)]))
    return _description(source.config, vision, bits, is_symmetric(source), FLOAT_BITS[kind])


def _description(
    language: LlamaConfig,
    vision: SiglipConfig | None,
    bits: Callable[[str], int],
    symmetric: bool,
    float_bits: int,
) -> FamilyDescription:
    """bits: of a packed weight, by the name of its matrix. float_bits: the same in a model that computes in float."""
    shapes, size_of = expected_llama_shapes(language), _SYMMETRIC_BYTES if symmetric else _BYTES
    norms = sum(4 * prod(shape) for shape in shapes.values() if len(shape) == 1)
    matrices = {name: prod(shape) for name, shape in shapes.items() if len(shape) == 2}
    packed = sum(weights * size_of[bits(name)] for name, weights in matrices.items())
    tower = 0 if vision is None else vision.parameters
    return FamilyDescription(
        IDEFICS3 if vision else LLAMA,
        language,
        vision,
        round(packed + norms + tower * _TOWER_BYTES),
        (sum(matrices.values()) + tower) * float_bits // 8 + norms,
    )


def _role(name: str) -> str:
    return name.rpartition(".")[2]
