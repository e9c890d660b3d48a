"""The engine: one model, loaded and compiled, that looks at images and answers conversations.

Everything of an engine belongs to one thread (the compiled code's thread pool does too); only a cancel event
may be set from elsewhere. Puts the parts together and keeps what turns share: encoded images, the KV cache.
Knows nothing of adapters' files, sessions or users.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models import threads as thread_settings
from models.chat_template import ChatTemplate
from models.context import fit
from models.cpu import KernelPath, choose_path, detect
from models.errors import UserError
from models.generation import Adapter, Generation, Language
from models.gguf import GgufFile
from models.llama_sources import load_llama
from models.lora import LoraWeights, PackedLora, pack_lora
from models.model_config import ModelConfig, read_model_config
from models.packing import PackedModel, load_or_pack
from models.peft_format import read_peft
from models.prefix import AdapterKey, PrefixCache
from models.prompt import EncodedImage, ImageNumbers, Prompt, PromptBuilder
from models.runtime import LlamaRuntime, compile_llama
from models.sampling import check
from models.store import ModelFiles
from models.tokenizer import Tokenizer
from models.types import Image, Message, Progress, Sampling, no_progress
from models.vision.projector import Projector, packed_embedding
from models.vision.projector_file import read_projector
from models.vision.sight import Load, Sight
from models.vision.tower import VisionTower

MAX_ENCODED_IMAGES = 64
MAX_PACKED_ADAPTERS = 8

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Parts:
    """What an engine is made of. sight: None for a model without eyes. words_head: see ModelConfig."""

    language: Language
    prompts: PromptBuilder
    sight: Sight | None
    words_head: str | None
    base_lora: LoraWeights | None


class Engine:
    """A loaded model; make one with `load`."""

    def __init__(self, name: str, digest: str, parts: Parts) -> None:
        self.name = name
        self.digest = digest
        self.context_length = parts.language.runtime.context_length
        self.shape = parts.language.runtime.shape
        self.has_vision = parts.sight is not None
        self.base_lora = parts.base_lora
        self._parts = parts
        self._numbers = ImageNumbers()
        self._encoded: OrderedDict[tuple[str, AdapterKey], EncodedImage] = OrderedDict()
        self._packed: OrderedDict[AdapterKey, PackedLora] = OrderedDict()

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        cache_dir: Path,
        threads: int | None = None,
        context_length: int | None = None,
        progress: Progress = no_progress,
    ) -> Engine:
        """From a model's files; packs and compiles what the cache lacks, telling progress.

        threads: None takes EDGE_APP_THREADS or one a core. context_length: tokens in view, at most what the
        model was made for; None takes the model's own default. Raises UserError for files that do not fit.
        """
        config = read_model_config(files.bundled)
        count = threads or thread_settings.default_threads()
        weights = _weights_path(files)
        tokenizer, template = _read_text_side(weights, config)
        digest = files.digests.get("language_model", files.digest)
        packed = load_or_pack(digest, lambda: load_llama(weights, digest), cache_dir / "packed", progress)
        wanted = _context_length(files.name, context_length, config, packed)
        path = choose_path(detect(cache_dir))
        compiled = cache_dir / "compiled"
        runtime = LlamaRuntime(packed, compile_llama(packed.shape, path, compiled, progress), count, wanted)
        sight = None
        if config.projector is not None:
            sight = Sight(_sight_loader(files, config.projector, packed, path, compiled, count, progress))
        base_lora = read_peft(config.base_lora, files.name) if config.base_lora else None
        parts = Parts(
            Language(runtime, tokenizer, PrefixCache()),
            PromptBuilder(tokenizer, template, config.wording),
            sight,
            config.words_head,
            base_lora,
        )
        return cls(files.name, files.digest, parts)

    def encode_image(self, image: Image, lora: LoraWeights | None = None) -> EncodedImage:
        """The image as the language model reads it; each distinct image is looked at once.

        lora: an adapter that may bring a projector part of its own. UserError for a model without eyes.
        """
        if self._parts.sight is None:
            raise UserError(f"{self.name} cannot see images; choose another model with EDGE_APP_MODEL.")
        key = image.digest, _adapter_key(lora) if lora and lora.projector else None
        if key not in self._encoded:
            tokens = self._parts.sight.look(image, lora.projector if lora else None)
            rows = self._numbers.take(len(tokens.embeddings))
            guesses = tokens.heads.get(self._parts.words_head or "", tokens.guesses)
            self._encoded[key] = EncodedImage(rows, tokens.embeddings, guesses)
        return _use(self._encoded, key, MAX_ENCODED_IMAGES)

    def prepare_sight(self) -> None:
        """Load the eyes now rather than at the first image."""
        if self._parts.sight is not None:
            self._parts.sight.prepare()

    def is_encoded(self, image: Image) -> bool:
        return (image.digest, None) in self._encoded

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        lora: LoraWeights | None = None,
        use_words: bool = True,
        see_images: bool = True,
        cancel: threading.Event | None = None,
        progress: Progress = no_progress,
    ) -> Generation:
        """An answer to a conversation that ends with the user's message; iterate it for tokens.

        Starting another generation ends the one before. lora: None takes the model's own LoRA for images when
        there is one in view, and the plain language model for text. use_words, see_images: see PromptBuilder.
        When the conversation outgrows the context, see models.context for what is left out.
        """
        check(sampling)
        pictured = see_images and any(message.images for message in messages)
        chosen = lora or (self.base_lora if pictured else None)

        def build(part: Sequence[Message]) -> Prompt:
            return self._build(part, chosen, use_words, see_images)

        reserve = min(sampling.max_tokens, self.context_length // 4)
        fitted = fit(messages, self.context_length - reserve, lambda part: len(build(part).atoms))
        return Generation(
            self._parts.language,
            build(fitted.messages),
            sampling,
            Adapter(_adapter_key(chosen), self._pack(chosen)),
            dropped_turns=fitted.dropped_turns,
            cancel=cancel or threading.Event(),
            progress=progress,
        )

    def close(self) -> None:
        """Free the weights and caches."""
        self._encoded.clear()
        self._packed.clear()
        del self._parts

    def _build(
        self, messages: Sequence[Message], lora: LoraWeights | None, use_words: bool, see_images: bool
    ) -> Prompt:
        images = [image for message in messages for image in message.images] if see_images else []
        encoded = {image.digest: self.encode_image(image, lora) for image in images}
        return self._parts.prompts.build(messages, encoded, use_words=use_words, see_images=see_images)

    def _pack(self, lora: LoraWeights | None) -> PackedLora | None:
        """The adapter as the kernels take it; kept for the last few, so that switching back is free."""
        if lora is None:
            return None
        key = _adapter_key(lora)
        if key not in self._packed:
            self._packed[key] = pack_lora(self._parts.language.runtime.shape, lora)
        return _use(self._packed, key, MAX_PACKED_ADAPTERS)


def _use(kept: OrderedDict[K, V], key: K, most: int) -> V:
    """The entry, now the last to go; those used longest ago go first."""
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def _adapter_key(lora: LoraWeights | None) -> AdapterKey:
    return (lora.name, lora.generation) if lora else None


def _context_length(name: str, wanted: int | None, config: ModelConfig, packed: PackedModel) -> int:
    longest = packed.config.max_position_embeddings
    if wanted is not None and wanted > longest:
        raise UserError(f"A context of {wanted} tokens is too long; {name} reads at most {longest}.")
    return wanted or min(config.context_length, longest)


def _sight_loader(
    files: ModelFiles,
    projector: Path,
    packed: PackedModel,
    path: KernelPath,
    compiled: Path,
    count: int,
    progress: Progress,
) -> Load:
    def load() -> tuple[VisionTower, Projector]:
        tower = VisionTower.load(files.files["vision_tower"], path, compiled, count, progress)
        heads = read_projector(projector, tower.packed, packed.shape.vocab)
        return tower, Projector.load(heads, packed_embedding(packed), path, compiled, count, progress)

    return load


def _weights_path(files: ModelFiles) -> Path:
    """The GGUF file, or the Hugging Face directory, of the language model."""
    return files.files.get("language_model", files.directory)


def _read_text_side(weights: Path, config: ModelConfig) -> tuple[Tokenizer, ChatTemplate]:
    if weights.is_dir():
        tokenizer = Tokenizer.from_directory(weights)
        template = ChatTemplate.from_directory(weights) if config.chat_template is None else None
    else:
        file = GgufFile(weights)
        tokenizer = Tokenizer.from_gguf(file)
        template = ChatTemplate.from_gguf(file) if config.chat_template is None else None
    return tokenizer, template or ChatTemplate(config.chat_template or "")
