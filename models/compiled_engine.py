"""The compiled engine: kernels made for this processor, weights mapped from packed files.

It joins the parts that a model's family loads, and keeps what successive turns share: encoded images and the KV
cache. One thread must make all calls, since the thread pool of the kernels belongs to the calling thread. Only the
cancel event may be set from another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.compiled_adapters import CompiledAdapter, CompiledAdapterPacker, as_compiled
from models.compiler import threads as thread_settings
from models.core.cache import PACKED
from models.core.errors import QuestionTooLongError, UserError
from models.core.types import Image, Message, Progress, Sampling, no_progress
from models.encoded_images import EncodedImages, ImageKey, counted_image
from models.engine import Abilities, FeatureSizes, PackedAdapter
from models.families.parts import ImageEncoder, LoadOptions, Parts
from models.families.registry import load_parts
from models.formats.llama_weights import Precision
from models.hub.store import ModelFiles
from models.language.context_window import fit, fit_texts
from models.language.copying.policy import CopyPolicy
from models.language.generation import ActiveAdapter, Generation
from models.language.prefix_cache import AdapterKey
from models.language.prompt import EncodedImage, Prompt
from models.language.sampling import check
from models.precision import float_memory, model_precision
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tower import TowerFeatures


@dataclass(frozen=True)
class FloatCopy:
    """The second copy of a model, in float. load: its parts. memory: about the bytes that they take."""

    load: Callable[[Progress], Parts]
    memory: Callable[[], int]


class CompiledEngine:
    """A model in memory, with the methods of models.engine.Engine.

    Adapters that need floats (models.precision) run on a second copy of a model in int8, which is loaded with the
    first of their answers and has its own KV cache.
    """

    def __init__(
        self, name: str, digest: str, parts: Parts, packed_folder: Path, float_copy: FloatCopy | None = None
    ) -> None:
        """packed_folder: where packed adapters are kept between runs.

        float_copy: None for a model whose adapters all run on `parts`.
        """
        self.name = name
        self.digest = digest
        self.context_length = parts.language.runtime.context_length
        self.shape = parts.language.runtime.shape
        self.has_vision = parts.vision is not None
        self.feature_sizes = FeatureSizes(self.shape.hidden, parts.vision.feature_size if parts.vision else 0)
        self.abilities = Abilities(parts.image_tasks, parts.text_tasks)
        self.adapters = CompiledAdapterPacker(
            self.shape, packed_folder, parts.base, digest=digest, by_update=float_copy is not None
        )
        self.base_adapter = None if parts.base_lora is None else CompiledAdapter(parts.base_lora)
        self._parts = parts
        self._float_copy = float_copy
        self._float_parts: Parts | None = None
        self._encoded = EncodedImages()

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        cache_dir: Path,
        threads: int | None = None,
        context_length: int | None = None,
        progress: Progress = no_progress,
    ) -> CompiledEngine:
        """See models.engine.load_model. Packs weights and compiles kernels that cache_dir lacks.

        threads: None for EDGE_APP_THREADS, or one for each core.
        """
        precision = model_precision(files)
        options = LoadOptions(
            cache_dir, threads or thread_settings.default_threads(), context_length, precision
        )
        parts = load_parts(files, options, progress)
        copy = None
        if precision != "float":
            length = parts.language.runtime.context_length
            load_floats = partial(load_parts, files, replace(options, precision="float"))
            copy = FloatCopy(load_floats, partial(float_memory, files, length))
        return cls(files.name, files.digest, parts, cache_dir / PACKED, copy)

    @property
    def generation(self) -> int:
        """The first 63 bits of the digest, so that it has the form of an adapter's generation."""
        return int(self.digest[:16], 16) >> 1

    def precision(self, adapter: PackedAdapter | None = None) -> Precision:
        """How linear layers compute under the adapter."""
        if self.shape.float_type is not None:
            return "float"
        return "float" if adapter is not None and self._in_floats(as_compiled(adapter)) else "int8"

    def memory_under(self, adapter: PackedAdapter) -> int:
        """See models.engine.Engine: about the bytes of the second copy, until it is loaded."""
        if self._float_copy is None or self._float_parts is not None:
            return 0
        return self._float_copy.memory() if self._in_floats(as_compiled(adapter)) else 0

    def free_copy(self) -> None:
        """Free the second copy. The next answer of an adapter that runs on it loads it again."""
        self._float_parts = None

    def load_vision(self, progress: Progress = no_progress) -> None:
        """Load the vision encoder now instead of with the first image."""
        if self._parts.vision is not None:
            self._parts.vision.load(progress)

    def is_encoded(self, image: Image, adapter: PackedAdapter | None = None) -> bool:
        """Whether the image's rows under the adapter are cached."""
        return self._parts.vision is not None and self._image_key(image, adapter) in self._encoded

    def encode_image(
        self, image: Image, adapter: PackedAdapter | None = None, progress: Progress = no_progress
    ) -> EncodedImage:
        """The image's rows for the language model, from the cache or encoded now.

        adapter: its part of the vision encoder changes the rows. progress: receives the stages of loading the vision
        encoder, and "encode" before each tile of an image that is cut. Raises UserError for a model without vision.
        """
        own = None if adapter is None else as_compiled(adapter)
        return self._encoded.get(self._image_key(image, adapter), lambda: self._encode(image, own, progress))

    def _image_key(self, image: Image, adapter: PackedAdapter | None) -> ImageKey:
        """The key of an image's rows. Raises UserError for a model without vision."""
        own = None if adapter is None else as_compiled(adapter)
        changes = own is not None and (own.projector is not None or own.vision is not None)
        key = self._vision().key(image)
        if self._in_floats(own):
            key += " float"
        return key, _adapter_key(own) if changes else None

    def _encode(self, image: Image, adapter: CompiledAdapter | None, progress: Progress) -> EncodedImage:
        vision = self._vision(self._parts_of(adapter, progress))
        if isinstance(vision, TileEncoder):
            seen = vision.encode(image, None if adapter is None else adapter.vision, progress)
            return EncodedImage(self._encoded.row_ids(seen.embeddings), seen.embeddings, grid=seen.grid)
        tokens = vision.encode(image, None if adapter is None else adapter.projector, progress)
        row_ids = self._encoded.row_ids(tokens.embeddings)
        guesses = tokens.heads.get(self._parts.words_head or "", tokens.guesses)
        return EncodedImage(row_ids, tokens.embeddings, guesses, tokens.probability)

    def certainty(self, image: Image, adapter: PackedAdapter | None = None) -> float | None:
        """The probability of the projector's heads (models.vision.projector.projector.ImageTokens), 0..1.

        None for an adapter without heads of its own, because its answers do not follow from the model's heads.
        """
        if adapter is not None:
            part = as_compiled(adapter).projector
            if part is None or not part.heads:
                return None
        return self.encode_image(image, adapter).probability

    def image_features(self, image: Image) -> TowerFeatures:
        """The vision tower's features, cached by image. Raises UserError for a model that has none."""
        vision = self._vision()
        if isinstance(vision, TileEncoder):
            raise UserError(f"{self.name} has no image features for the router.")
        return vision.features(image)

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The token ids of a text [n], and their rows of the embedding matrix, float32 [n, hidden]."""
        ids = np.array(self._parts.language.tokenizer.encode(text, special=False), np.int64)
        return ids, self._parts.embedding(ids)

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]:
        """See models.engine.TextScorer. The conversation's KV cache is not touched."""
        encode = self._parts.language.tokenizer.encode
        prompt = self._parts.prompts.to_continue(text, None if image is None else self.encode_image(image))
        return self._parts.side_context.shares(prompt, [encode(option, special=False) for option in options])

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: PackedAdapter | None = None,
        use_words: bool = True,
        see_images: bool = True,
        texts: Mapping[str, str] | None = None,
        grammar: str | None = None,
        copying: CopyPolicy | None = None,
        cancel: threading.Event | None = None,
        progress: Progress = no_progress,
    ) -> Generation:
        """See models.engine.Engine.

        adapter: None uses the model's own LoRA in a conversation with images, even when see_images hides them, so
        that the two answers differ only by the image tokens.
        texts: see models.language.prompt.PromptBuilder.
        A repetition penalty of None is that of the model's family without `adapter` and 1 with one. The default
        model alone repeats itself without a penalty, and an adapter often has to repeat words of its prompt.
        """
        if sampling.repetition_penalty is None:
            sampling = replace(
                sampling, repetition_penalty=self._parts.plain_penalty if adapter is None else 1.0
            )
        check(sampling)
        images = {image.digest: image for message in messages for image in message.images}
        chosen = self._chosen(messages, adapter)
        parts = self._parts_of(chosen, progress)
        self._encoded.in_conversation = len(images)

        def build(part: Sequence[Message], read: Mapping[str, str]) -> Prompt:
            shown = (
                {image.digest: image for message in part for image in message.images} if see_images else {}
            )
            encoded = {digest: self.encode_image(image, chosen, progress) for digest, image in shown.items()}
            return parts.prompts.build(
                part,
                encoded,
                use_words=use_words,
                see_images=see_images,
                texts=read,
                most=self.context_length,  # fit refuses a longer one
            )

        limit = self._prompt_limit(sampling.max_tokens)
        kept = fit_texts(messages, texts or {}, limit, lambda read: len(build(messages, read).tokens))
        try:
            fitted = fit(messages, limit, lambda part: len(build(part, kept).tokens))
        except QuestionTooLongError as error:
            if not self._cuts_images(images.values()):
                raise
            raise QuestionTooLongError(
                f"{error} Its images can be looked at less closely: detail low."
            ) from None
        return Generation(
            parts.language,
            build(fitted.messages, kept),
            sampling,
            _active(chosen),
            grammar=grammar,
            copying=copying,
            pages=[text for text in (texts or {}).values() if text.strip()] if see_images else (),
            dropped_turns=fitted.dropped_turns,
            cancel=cancel or threading.Event(),
            progress=progress,
        )

    def fits(self, messages: Sequence[Message], max_tokens: int) -> bool:
        """See models.engine.Engine. The tiles of images are counted, not computed."""
        vision = self._parts.vision
        if not isinstance(vision, TileEncoder):
            return True  # its images take few tokens
        images = {image.digest: image for message in messages for image in message.images}
        counted = {digest: counted_image(*vision.plan(image)) for digest, image in images.items()}

        def length(part: Sequence[Message]) -> int:
            return len(self._parts.prompts.build(part, counted, most=self.context_length).tokens)

        try:
            fit(messages, self._prompt_limit(max_tokens), length)
        except QuestionTooLongError:
            return False
        return True

    def _prompt_limit(self, max_tokens: int) -> int:
        """Tokens of the longest prompt that leaves room for an answer."""
        return self.context_length - min(max_tokens, self.context_length // 4)

    def close(self) -> None:
        """Free weights and caches."""
        self._encoded.clear()
        self._float_parts = None
        del self._parts

    def _chosen(self, messages: Sequence[Message], adapter: PackedAdapter | None) -> CompiledAdapter | None:
        """The adapter whose LoRA answers: without one the model's own, in a conversation with images."""
        if adapter is not None:
            return as_compiled(adapter)
        return self.base_adapter if any(message.images for message in messages) else None

    def _cuts_images(self, images: Iterable[Image]) -> bool:
        """Whether one of the images is looked at in several tiles."""
        return isinstance(self._parts.vision, TileEncoder) and any(image.detail == "high" for image in images)

    def _in_floats(self, adapter: CompiledAdapter | None) -> bool:
        """Whether the adapter runs on the second copy."""
        return adapter is not None and adapter.lora.floats and self._float_copy is not None

    def _parts_of(self, adapter: CompiledAdapter | None, progress: Progress) -> Parts:
        """The parts that the adapter runs on."""
        if self._float_copy is None or not self._in_floats(adapter):
            return self._parts
        if self._float_parts is None:
            self._float_parts = self._float_copy.load(progress)
        return self._float_parts

    def _vision(self, parts: Parts | None = None) -> ImageEncoder:
        vision = (parts or self._parts).vision
        if vision is None:
            raise UserError(f"{self.name} cannot see images; choose another model with EDGE_APP_MODEL.")
        return vision


def _active(adapter: CompiledAdapter | None) -> ActiveAdapter:
    return ActiveAdapter(_adapter_key(adapter), None if adapter is None else adapter.lora)


def _adapter_key(adapter: CompiledAdapter | None) -> AdapterKey:
    return None if adapter is None else (adapter.name, adapter.generation)
