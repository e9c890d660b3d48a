"""Says of a model, from its configuration alone, whether it can run, as what family, and in how much memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.formats.gguf import GgufFile
from models.formats.hugging_face import VISION_LANGUAGE_TYPES, llama_config, model_type, siglip_config
from models.formats.llama_sources import GgufSource
from models.formats.llama_weights import (
    LINEAR_ROLES,
    LlamaConfig,
    check_llama_config,
    check_llama_tensors,
    expected_llama_shapes,
)
from models.formats.mlc.weights import FLOAT_ENDS, FOUR_BITS, mlc_llama_config
from models.formats.siglip_sources import MmprojSource
from models.formats.siglip_weights import SiglipConfig, check_siglip_config, check_siglip_tensors

LLAMA, IDEFICS3 = "llama", "idefics3"  # families, see models/families/registry.py

# Bytes of a packed weight by its bits: its code, and the float16 scale (and minimum) of 32 weights. 16 bits are two
# codes of 8.
_BYTES = {4: 5 / 8, 8: 17 / 16, 16: 17 / 8}
_TOWER_BYTES = 9 / 8  # 8 bits, and a float32 scale for 32 weights
_WORKING_BYTES = 96 << 20  # compiled code, activations and logits


@dataclass(frozen=True)
class FamilyDescription:
    """What a model is.

    family: the name in a catalog entry. language, vision: its configurations; vision is None for text alone.
    weight_bytes: of the packed weights, which stay mapped while the model runs.
    """

    family: str
    language: LlamaConfig
    vision: SiglipConfig | None
    weight_bytes: int

    def memory(self, context_length: int = 4096) -> int:
        """Bytes that the model needs while it runs, with a KV cache (float16) of so many positions."""
        language = self.language
        positions = min(context_length, language.max_position_embeddings)
        cache = 2 * 2 * language.num_layers * language.num_kv_heads * language.head_dim * positions
        return self.weight_bytes + cache + _WORKING_BYTES


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
        return FamilyDescription(LLAMA, language, None, _packed_bytes(language, bits))
    language, vision = llama_config(path, settings), None
    check_llama_config(path, language)
    if model_type(path, settings) in VISION_LANGUAGE_TYPES:
        vision = siglip_config(path, settings)
        check_siglip_config(path, vision)
    size = _packed_bytes(language, {"embedding": 16}) + _tower_bytes(vision)
    return FamilyDescription(IDEFICS3 if vision else LLAMA, language, vision, size)


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
    widths: dict[str, int] = {}
    for name in source.shapes():  # as models.formats.llama_weights.assemble decides
        role = name.rpartition(".")[2]
        widths[role] = max(widths.get(role, 0), source.bits(name))
    if source.is_float("embedding"):
        widths["embedding"] = 16
    elif "embedding" in widths:
        widths["embedding"] = 8
    size = _packed_bytes(source.config, widths) + _tower_bytes(vision)
    return FamilyDescription(IDEFICS3 if vision else LLAMA, source.config, vision, size)


def _packed_bytes(config: LlamaConfig, bits: Mapping[str, int]) -> int:
    """About the size of the packed language model. bits: of a weight by role; 8 where there is none."""
    return round(
        sum(
            prod(shape) * _BYTES[bits.get(name.rpartition(".")[2], 8)]
            for name, shape in expected_llama_shapes(config).items()
        )
    )


def _tower_bytes(vision: SiglipConfig | None) -> int:
    """About the size of the packed vision tower and connector."""
    return 0 if vision is None else round(vision.parameters * _TOWER_BYTES)
