"""Says of a model, from its configuration alone, whether it can run, as what family, and in how much memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from models.formats.gguf import GgufFile
from models.formats.gguf_blocks import FOUR_BIT_TYPES
from models.formats.hugging_face import VISION_LANGUAGE_TYPES, llama_config, model_type, siglip_config
from models.formats.llama_sources import gguf_llama_config
from models.formats.llama_weights import LlamaConfig, expected_llama_shapes
from models.formats.mlc.weights import FOUR_BITS, mlc_llama_config
from models.formats.siglip_sources import mmproj_config
from models.formats.siglip_weights import SiglipConfig

LLAMA, IDEFICS3 = "llama", "idefics3"  # families, see models/families/registry.py

_BYTES_8_BITS = 17 / 16  # of a weight: its code, and a float16 scale for 32 weights
_BYTES_4_BITS = 5 / 8  # half a byte, and a float16 scale and minimum for 32 weights
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
        return _describe_mlc(path, settings)
    language = llama_config(path, settings)
    vision = siglip_config(path, settings) if model_type(path, settings) in VISION_LANGUAGE_TYPES else None
    weights = sum(map(prod, expected_llama_shapes(language).values())) + (vision.parameters if vision else 0)
    return FamilyDescription(IDEFICS3 if vision else LLAMA, language, vision, round(weights * _BYTES_8_BITS))


def describe_gguf(language: GgufFile, mmproj: GgufFile | None = None) -> FamilyDescription:
    """The model in a GGUF file, with the vision tower in its mmproj file. Raises UserError when it cannot run."""
    config = gguf_llama_config(language)
    vision = mmproj_config(mmproj.path, mmproj.metadata) if mmproj else None
    weights = sum(map(_packed_bytes, (language, mmproj) if mmproj else (language,)))
    return FamilyDescription(IDEFICS3 if vision else LLAMA, config, vision, weights)


def _describe_mlc(path: str | Path, settings: Mapping[str, Any]) -> FamilyDescription:
    """The model in mlc-chat-config.json. The embedding has 8 bits whatever the quantisation is."""
    language = mlc_llama_config(path, settings)
    width = _BYTES_4_BITS if settings["quantization"] in FOUR_BITS else _BYTES_8_BITS
    weights = sum(
        prod(shape) * (_BYTES_8_BITS if name == "embedding" else width)
        for name, shape in expected_llama_shapes(language).items()
    )
    return FamilyDescription(LLAMA, language, None, round(weights))


def _packed_bytes(file: GgufFile) -> int:
    """About the size of the file's tensors as they are packed."""
    return round(
        sum(
            prod(info.shape) * (_BYTES_4_BITS if info.type in FOUR_BIT_TYPES else _BYTES_8_BITS)
            for info in file.tensors.values()
        )
    )
