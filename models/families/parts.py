"""The parts that a family of models loads for the compiled engine.

A family is a combination of a language model's architecture, a vision encoder's, and the way they are joined. Its
module has one function, `load`, which reads a model's files and returns `Parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.types import Progress
from models.formats.llama_weights import Precision
from models.formats.siglip_weights import SiglipWeights
from models.hub.store import ModelFiles
from models.language.generation import LanguageModel
from models.language.prompt import PromptBuilder
from models.language.side_context import SideContext
from models.lora.weights import PackedLora
from models.vision.projector.projector import EmbeddingRows
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.vision_encoder import VisionEncoder

PLAIN_PENALTY = 1.1
"""The repetition penalty without an adapter, when the sampling settings leave it to the engine."""

ImageEncoder = VisionEncoder | TileEncoder
"""A vision encoder: an EfficientNet tower with a projector of word heads, or a tower that reads tiles."""


@dataclass(frozen=True)
class BaseWeights:
    """Reads the weights that adapters change. Any thread may do so.

    language: W of the language model's module "layers.{i}.{role}_proj", float32 [outputs, inputs].
    vision: the SigLIP tower and connector; None for a model without one.
    """

    language: Callable[[str], NDArray[np.float32]]
    vision: Callable[[], SiglipWeights] | None = None


@dataclass(frozen=True)
class Parts:
    """The parts of a model in memory.

    language: the language model with the conversation's KV cache. side_context: the same weights with a KV cache of
    their own.
    embedding: the rows of the language model's embedding, by token id.
    prompts: builds the model's prompts.
    base: the weights that adapters change.
    vision: the vision encoder; None for a model that reads text alone.
    plain_penalty: the repetition penalty without an adapter.
    words_head: the head of the projector whose labels the prompt has in words; None for the first head.
    base_lora: the model's own LoRA for conversations with images; None for none.
    image_tasks, text_tasks: example questions by task, as in models.model_config.ModelConfig.
    """

    language: LanguageModel
    side_context: SideContext
    embedding: EmbeddingRows
    prompts: PromptBuilder
    base: BaseWeights
    vision: ImageEncoder | None
    words_head: str | None
    base_lora: PackedLora | None
    plain_penalty: float = PLAIN_PENALTY
    image_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadOptions:
    """The choices with which a model is loaded.

    cache_dir: the folder of compiled code and packed weights. threads: threads that compute.
    context_length: positions in the KV cache; None takes the default in the model's config.json.
    precision: of linear layers.
    """

    cache_dir: Path
    threads: int
    context_length: int | None = None
    precision: Precision = "int8"


class Family(Protocol):
    """Loads a model of one family.

    progress: receives the stages "pack", "compile" and "load". It is used during the call only.
    Raises UserError when files are missing, damaged or not of this family.
    """

    def __call__(self, files: ModelFiles, options: LoadOptions, progress: Progress) -> Parts: ...
