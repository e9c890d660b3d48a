"""The interface of engines for the packages above `models`, and the choice of a model's engine.

An engine is one model in memory. It answers conversations, computes features of images and texts for the router,
and packs adapters into the form that it runs. The catalog entry of a model names its engine in the key `engine`; the
default, "compiled", is models.compiled_engine. Other distributions add engines by entry points in the group
"edge_app.engines" (docs/extending.md).

All methods of an engine are called on one thread, except those of `Engine.adapters`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from models.core.errors import UserError
from models.core.extension_points import ExtensionPoint
from models.core.types import Image, Message, Progress, Sampling, StopReason, Token, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.adapter_weights import AdapterWeights
    from models.hub.store import ModelFiles
    from models.language.copying.policy import CopyPolicy


@dataclass(frozen=True)
class FeatureSizes:
    """Lengths of the vectors that the router reads.

    text: of a token's embedding and of a hidden state.
    image: of ImageFeatures.pool and ImageFeatures.colour together; 0 without vision.
    """

    text: int
    image: int


@dataclass(frozen=True)
class Abilities:
    """What a model can answer, as its publisher states it.

    image_tasks: what it was trained to answer about an image: example questions by task. Empty when nothing is stated.
    text_tasks: what it can answer without an image, in the same form.
    """

    image_tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    text_tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)


class ImageFeatures(Protocol):
    """Features of an image for the router. pool: float32 [n], of the vision encoder. colour: float32 [m], a histogram.

    n + m is FeatureSizes.image.
    """

    @property
    def pool(self) -> NDArray[np.float32]: ...

    @property
    def colour(self) -> NDArray[np.float32]: ...


class TextEmbedder(Protocol):
    """The part of an engine that computes features of a question."""

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The token ids of a text, int64 [n], and their embeddings, float32 [n, FeatureSizes.text]."""
        ...


class FeatureExtractor(TextEmbedder, Protocol):
    """The part of an engine that computes features of a question and of its image."""

    def image_features(self, image: Image) -> ImageFeatures:
        """The features of an image. Raises UserError when the model has no vision encoder."""
        ...


class TextScorer(Protocol):
    """The part of an engine that runs the language model over texts outside the conversation."""

    def continuation_shares(
        self, text: str, options: Sequence[str], image: Image | None = None
    ) -> NDArray[np.float64]:
        """The probability of each option after the image and the text, given that one of the options follows.

        Returns float64 [options], which sum to 1. Raises ValueError when text and options are too long.
        """
        ...


class PackedAdapter(Protocol):
    """An adapter in the form that one engine runs. The engine that packed it is the only one that can run it."""

    @property
    def name(self) -> str: ...

    @property
    def generation(self) -> int:
        """Identifies the content: another version of the same name has another number."""
        ...

    @property
    def size(self) -> int:
        """Bytes in memory."""
        ...


class AdapterPacker(Protocol):
    """The part of an engine that makes adapters ready to run. Its methods may be called from any thread."""

    def pack(self, weights: AdapterWeights) -> PackedAdapter:
        """The adapter in this engine's form. Raises UserError when it does not fit the model or no adapter can run."""
        ...

    def add(self, name: str, generation: int, parts: Sequence[tuple[PackedAdapter, float]]) -> PackedAdapter:
        """The sum of the adapters, each times its weight. Raises UserError when they cannot run together."""
        ...

    def open(self, folder: Path, name: str, signature: object) -> PackedAdapter | None:
        """The adapter in `folder` from the engine's cache.

        signature: identifies the state of the adapter's files; it can be written as JSON.
        None when the cache lacks the adapter in this state, or when what is read from `folder` is damaged.
        """
        ...

    def keep(self, adapter: PackedAdapter, signature: object) -> None:
        """Write the adapter to the engine's cache. Errors of the disk are ignored."""
        ...


class ImageEncoding(Protocol):
    """An image that is ready for prompts."""

    @property
    def guesses(self) -> Sequence[tuple[str, float]]:
        """The vision encoder's labels for the image, as (label, probability), best first; may be empty."""
        ...


class TokenStream(Iterator[Token], Protocol):
    """An answer while it is generated. Iterate for its tokens; nothing is computed before the first `next`.

    prompt_tokens, image_tokens: the length of the prompt, and how much of it stands for images.
    dropped_turns: turns that were left out because the conversation exceeds the context.
    cached_tokens: prompt tokens that were not computed again. completion_tokens: tokens so far.
    prefill_ms, decode_ms: milliseconds so far. text: the answer so far.
    stop_reason: None until the answer has ended.
    """

    prompt_tokens: int
    image_tokens: int
    dropped_turns: int
    cached_tokens: int
    completion_tokens: int
    stop_reason: StopReason | None
    prefill_ms: float
    decode_ms: float
    text: str


class Engine(FeatureExtractor, TextScorer, Protocol):
    """One model in memory."""

    @property
    def name(self) -> str:
        """The model's name in the catalog."""
        ...

    @property
    def digest(self) -> str:
        """sha256 (hex) that identifies the published weights."""
        ...

    @property
    def generation(self) -> int:
        """A number that identifies the weights, as PackedAdapter.generation does for an adapter."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens of prompt and answer together, at most."""
        ...

    @property
    def has_vision(self) -> bool: ...

    @property
    def feature_sizes(self) -> FeatureSizes: ...

    @property
    def abilities(self) -> Abilities: ...

    @property
    def adapters(self) -> AdapterPacker: ...

    def precision(self, adapter: PackedAdapter | None = None) -> str | None:
        """How the model computes under the adapter: "int8", "float", or another word; None when it does not say."""
        ...

    def memory_under(self, adapter: PackedAdapter) -> int:
        """Bytes that the first answer under the adapter adds to the engine; 0 when it needs no memory of its own.

        That is a copy of the weights in another form, which stays until `free_copy`.
        """
        ...

    def free_copy(self) -> None:
        """Free what `memory_under` counts. It is made again when it is needed."""
        ...

    def load_vision(self, progress: Progress = no_progress) -> None:
        """Load the vision encoder now instead of with the first image. Does nothing without one."""
        ...

    def is_encoded(self, image: Image, adapter: PackedAdapter | None = None) -> bool:
        """Whether the image can be used under the adapter at no further cost."""
        ...

    def encode_image(
        self, image: Image, adapter: PackedAdapter | None = None, progress: Progress = no_progress
    ) -> ImageEncoding:
        """Make the image ready for prompts under the adapter, once. Raises UserError without vision."""
        ...

    def fits(self, messages: Sequence[Message], max_tokens: int) -> bool:
        """Whether the last question fits the context with its images and an answer. Encodes no image.

        It may return True for what `generate` refuses.
        """
        ...

    def certainty(self, image: Image, adapter: PackedAdapter | None = None) -> float | None:
        """The probability that the prompt describes the image correctly, 0..1, as the vision encoder estimates it.

        None when the answer does not depend on that description, for example with an adapter that has its own heads.
        """
        ...

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
    ) -> TokenStream:
        """An answer to a conversation that ends with the user's message.

        Starting another answer ends the one before. Turns that do not fit the context are left out, oldest first.

        adapter: made by this engine's `adapters`; None for the model as it is.
        use_words: whether the prompt has the vision encoder's guesses in words.
        see_images: False leaves the images out of the prompt.
        texts: the text that was read in images, by the image's digest.
        grammar: the answer is one of its texts, also when the limit of tokens is near (models.language.json_schema);
            None for any text.
        copying: the answer is a passage of `texts`, or a decline; without effect when there are no texts, and beside a
            grammar.
        cancel: may be set from any thread, and ends the answer.
        progress: receives the stages of loading and "prefill".
        Raises UserError when the question alone exceeds the context, or when sampling is out of range.
        """
        ...

    def close(self) -> None:
        """Free weights and caches. The engine cannot be used afterwards."""
        ...


class EngineLoader(Protocol):
    """Loads a model's engine. See `load_model` for the arguments."""

    def __call__(
        self,
        files: ModelFiles,
        *,
        cache_dir: Path,
        threads: int | None,
        context_length: int | None,
        progress: Progress,
    ) -> Engine: ...


ENGINES: ExtensionPoint[EngineLoader] = ExtensionPoint(
    "edge_app.engines", {"compiled": "models.compiled_engine:CompiledEngine.load"}
)


def load_model(
    files: ModelFiles,
    *,
    cache_dir: Path,
    threads: int | None = None,
    context_length: int | None = None,
    progress: Progress = no_progress,
) -> Engine:
    """Load a model with the engine that its catalog entry names.

    cache_dir: a folder for what the engine computes from the model's files.
    threads: threads that compute; None for the engine's default.
    context_length: tokens of prompt and answer together; None for the model's default.
    progress: receives the stages of loading. It is used during the call only.
    Raises UserError when the engine is unknown, or when files do not fit.
    """
    loader = ENGINES.load(files.engine)
    if loader is None:
        raise UserError(
            f"The model {files.name} needs the engine {files.engine!r}, which is not installed; there are "
            f"{', '.join(ENGINES.names())}."
        )
    return loader(
        files, cache_dir=cache_dir, threads=threads, context_length=context_length, progress=progress
    )
