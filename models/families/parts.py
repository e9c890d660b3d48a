"""What an engine is made of, and what it is made from. Knows nothing of any family of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.core.errors import UserError
from models.core.types import Progress
from models.formats.gguf_metadata import load_or_read_metadata
from models.hub.store import ModelFiles
from models.language.chat_template import ChatTemplate
from models.language.generation import LanguageModel
from models.language.prompt import PromptBuilder
from models.language.side_context import SideContext
from models.language.tokenizer import Tokenizer
from models.lora.weights import PackedLora
from models.model_config import ModelConfig
from models.vision.projector import EmbeddingRows
from models.vision.vision_encoder import VisionEncoder


@dataclass(frozen=True)
class Parts:
    """What an engine is made of. sight: None for a model without eyes. words_head: see ModelConfig.

    embedding: of the language model, one row a token. aside: the same model with another KV cache.
    """

    language: LanguageModel
    side_context: SideContext
    embedding: EmbeddingRows
    prompts: PromptBuilder
    vision: VisionEncoder | None
    words_head: str | None
    base_lora: PackedLora | None


@dataclass(frozen=True)
class Request:
    """How a model is wanted. context_length: tokens in view; None takes the model's own default."""

    cache_dir: Path
    threads: int
    context_length: int | None
    progress: Progress


class Family(Protocol):
    """Makes an engine's parts from a model's files, which are of this family. Raises UserError."""

    def __call__(self, files: ModelFiles, request: Request) -> Parts: ...


def text_side(
    weights: Path, digest: str, config: ModelConfig, packed_folder: Path
) -> tuple[Tokenizer, ChatTemplate]:
    """Tokenizer and chat template out of a GGUF file (with this sha256) or a Hugging Face directory."""
    if weights.is_dir():
        tokenizer = Tokenizer.from_directory(weights)
        template = ChatTemplate.from_directory(weights) if config.chat_template is None else None
    else:
        file = load_or_read_metadata(weights, digest, packed_folder)
        tokenizer = Tokenizer.from_gguf(file)
        template = ChatTemplate.from_gguf(file) if config.chat_template is None else None
    return tokenizer, template or ChatTemplate(config.chat_template or "")


def allowed_context(name: str, wanted: int | None, default: int, longest: int) -> int:
    """Tokens in view. Raises UserError when more are wanted than the model was made for."""
    if wanted is not None and wanted > longest:
        raise UserError(f"A context of {wanted} tokens is too long; {name} reads at most {longest}.")
    return wanted or min(default, longest)
