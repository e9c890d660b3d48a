"""The engine: one model, loaded and compiled, that looks at images and answers conversations.

Everything of an engine belongs to one thread (the compiled code's thread pool does too); only a cancel event
may be set from elsewhere. Puts the parts together and keeps what turns share: encoded images, the KV cache.
Knows nothing of adapters' files, sessions or users.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.adapter_weights import AdapterWeights, AnyAdapter, pack_adapter
from models.compiler import threads as thread_settings
from models.core.errors import UserError
from models.core.types import Image, Message, Progress, Sampling, no_progress
from models.families.parts import Parts, Request
from models.families.registry import load_parts
from models.hub.store import ModelFiles
from models.language.context_window import fit, fit_texts
from models.language.generation import ActiveAdapter, Generation
from models.language.prefix_cache import AdapterKey
from models.language.prompt import EncodedImage, Prompt, RowIds
from models.language.sampling import check
from models.lora.weights import PackedLora
from models.vision.tower import TowerFeatures
from models.vision.vision_encoder import VisionEncoder

MAX_ENCODED_IMAGES = 64  # beside those of the conversation: one that went would come back as other atoms
MAX_PACKED_ADAPTERS = 4  # of those handed over unpacked

PLAIN_PENALTY = 1.1

K = TypeVar("K")
V = TypeVar("V")


class Engine:
    """A loaded model; make one with `load`."""

    def __init__(self, name: str, digest: str, parts: Parts) -> None:
        self.name = name
        self.digest = digest
        self.context_length = parts.language.runtime.context_length
        self.shape = parts.language.runtime.shape
        self.has_vision = parts.vision is not None
        self.base_adapter = None if parts.base_lora is None else AdapterWeights(parts.base_lora)
        self._parts = parts
        self._row_ids = RowIds()
        self._in_view = 0  # distinct images of the last conversation
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
        count = threads or thread_settings.default_threads()
        request = Request(cache_dir, count, context_length, progress)
        return cls(files.name, files.digest, load_parts(files, request))

    def encode_image(self, image: Image, adapter: AnyAdapter | None = None) -> EncodedImage:
        """The image as the language model reads it; each distinct image is looked at once.

        adapter: may bring a projector part of its own. UserError for a model without eyes.
        """
        encoder = self._vision()
        key = image.digest, _adapter_key(adapter) if adapter and adapter.projector else None
        if key not in self._encoded:
            tokens = encoder.encode(image, adapter.projector if adapter else None)
            row_ids = self._row_ids.take(len(tokens.embeddings))
            guesses = tokens.heads.get(self._parts.words_head or "", tokens.guesses)
            self._encoded[key] = EncodedImage(row_ids, tokens.embeddings, guesses, tokens.probability)
        return _use(self._encoded, key, MAX_ENCODED_IMAGES + 2 * self._in_view)

    @property
    def generation(self) -> int:
        """Which weights these are, as an adapter has it (models.adapter_weights)."""
        return int(self.digest[:16], 16) >> 1

    def certainty(self, image: Image, adapter: AnyAdapter | None = None) -> float | None:
        """How sure the heads are of what the language model gets to see of the image, 0..1. None for an adapter
        without heads of its own: what the model's own name in its images says nothing about its answers."""
        if adapter is not None and not (adapter.projector and adapter.projector.heads):
            return None
        return self.encode_image(image, adapter).probability

    def image_features(self, image: Image) -> TowerFeatures:
        """What the tower sees in the image, once for all adapters. UserError for a model without eyes."""
        return self._vision().features(image)

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Token ids [n] of a text and their rows of the embedding, float32 [n, hidden]; nothing is computed."""
        ids = np.array(self._parts.language.tokenizer.encode(text, special=False), np.int64)
        return ids, self._parts.embedding(ids)

    def text_state(self, text: str) -> NDArray[np.float32]:
        """The plain language model's final hidden state [hidden] after a text; the conversation's KV cache stays.

        Raises ValueError when the text is empty or over models.language.side_context.CONTEXT tokens.
        """
        return self._parts.side_context.state(self._parts.language.tokenizer.encode(text, special=False))

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]:
        """How probable the plain language model finds each option [options] after an image and a text, when one
        of them is all that may follow (models.language.side_context.SideContext.shares). The conversation's KV
        cache stays as it is.
        """
        encode = self._parts.language.tokenizer.encode
        prompt = self._parts.prompts.to_continue(text, None if image is None else self.encode_image(image))
        return self._parts.side_context.shares(prompt, [encode(option, special=False) for option in options])

    def load_vision(self) -> None:
        """Load the eyes now rather than at the first image."""
        if self._parts.vision is not None:
            self._parts.vision.load()

    def is_encoded(self, image: Image) -> bool:
        return (image.digest, None) in self._encoded

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: AnyAdapter | None = None,
        use_words: bool = True,
        see_images: bool = True,
        texts: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
        progress: Progress = no_progress,
    ) -> Generation:
        """An answer to a conversation that ends with the user's message; iterate it for tokens.

        Starting another generation ends the one before. adapter: None takes the model's own LoRA for images when
        there is one in the conversation, and the plain language model for text; LoraWeights are packed first,
        which takes 0.1 s and is kept for the last few. use_words, see_images: see PromptBuilder; hidden images
        still choose the adapter, so that the answer lacks only what they show.
        texts: what was read in the images, by digest (models.ocr.reader.as_prompt_lines); see PromptBuilder.
        A repetition penalty of None is PLAIN_PENALTY without `adapter` and off with one: the model alone repeats
        itself otherwise, and an adapter copies what it is asked for.
        When the conversation outgrows the context, see models.language.context_window for what is left out.
        """
        if sampling.repetition_penalty is None:
            sampling = replace(sampling, repetition_penalty=PLAIN_PENALTY if adapter is None else 1.0)
        check(sampling)
        pictured = any(message.images for message in messages)
        chosen = adapter or (self.base_adapter if pictured else None)
        self._in_view = len({image.digest for message in messages for image in message.images})

        def build(part: Sequence[Message], read: Mapping[str, str]) -> Prompt:
            return self._build(part, chosen, use_words, see_images, read)

        limit = self.context_length - min(sampling.max_tokens, self.context_length // 4)
        kept = fit_texts(messages, texts or {}, limit, lambda read: len(build(messages, read).tokens))
        fitted = fit(messages, limit, lambda part: len(build(part, kept).tokens))
        return Generation(
            self._parts.language,
            build(fitted.messages, kept),
            sampling,
            ActiveAdapter(_adapter_key(chosen), self._pack(chosen)),
            dropped_turns=fitted.dropped_turns,
            cancel=cancel or threading.Event(),
            progress=progress,
        )

    def _vision(self) -> VisionEncoder:
        if self._parts.vision is None:
            raise UserError(f"{self.name} cannot see images; choose another model with EDGE_APP_MODEL.")
        return self._parts.vision

    def close(self) -> None:
        """Free the weights and caches."""
        self._encoded.clear()
        self._packed.clear()
        del self._parts

    def _build(
        self,
        messages: Sequence[Message],
        adapter: AnyAdapter | None,
        use_words: bool,
        see_images: bool,
        texts: Mapping[str, str],
    ) -> Prompt:
        images = [image for message in messages for image in message.images] if see_images else []
        encoded = {image.digest: self.encode_image(image, adapter) for image in images}
        return self._parts.prompts.build(
            messages, encoded, use_words=use_words, see_images=see_images, texts=texts
        )

    def _pack(self, adapter: AnyAdapter | None) -> PackedLora | None:
        """The adapter's LoRA as the kernels take it."""
        if adapter is None:
            return None
        if isinstance(adapter.lora, PackedLora):
            return adapter.lora
        key = _adapter_key(adapter)
        if key not in self._packed:
            self._packed[key] = pack_adapter(self.shape, AdapterWeights(adapter.lora)).lora
        return _use(self._packed, key, MAX_PACKED_ADAPTERS)


def _use(kept: OrderedDict[K, V], key: K, most: int) -> V:
    """The entry, now the last to go; those used longest ago go first."""
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def _adapter_key(adapter: AnyAdapter | None) -> AdapterKey:
    return (adapter.name, adapter.generation) if adapter else None
