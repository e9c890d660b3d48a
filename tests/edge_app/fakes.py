"""A scripted engine and a scripted router, for tests of the code around them, and the short way to ask them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Answered, Event, Turn
from edge_app.settings import Settings
from edge_app.system import paths
from models.compiled_adapters import CompiledAdapterPacker
from models.core.cache import PACKED
from models.core.types import Image, LikelyToken, Message, Progress, Sampling, Token, no_progress
from models.engine import Abilities, PackedAdapter
from models.language.copying.policy import CopyPolicy
from models.vision.preprocess import COLOUR_BINS
from models.vision.tower import TowerFeatures
from router.choice import Candidate, Choice, Query
from router.types import Reason
from tests.adapters.folders import SHAPE


@dataclass
class Call:
    """The arguments of one call of generate()."""

    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: PackedAdapter | None
    use_words: bool
    see_images: bool
    texts: Mapping[str, str]
    grammar: str | None = None
    copying: CopyPolicy | None = None


@dataclass
class FakeTokens:
    guesses: tuple[tuple[str, float], ...] = (("cat", 0.9), ("dog", 0.1))


class FakeGeneration(Iterator[Token]):
    def __init__(self, engine: FakeEngine, cancel: threading.Event) -> None:
        self.prompt_tokens, self.image_tokens, self.cached_tokens = 20, 4, 2
        self.completion_tokens = 0
        self.dropped_turns = engine.dropped_turns
        self.stop_reason: str | None = None
        self.prefill_ms, self.decode_ms = 3.0, 10.0
        self.text = ""
        self._tokens = self._generate(engine, cancel)

    def __next__(self) -> Token:
        return next(self._tokens)

    def _generate(self, engine: FakeEngine, cancel: threading.Event) -> Iterator[Token]:
        for number, word in enumerate(engine.words):
            engine.before_token(number)
            if cancel.is_set():
                self.stop_reason = "cancelled"
                return
            self.text += word
            self.completion_tokens += 1
            piece = word.encode() if engine.likeliest is not None else b""
            others = (
                LikelyToken(number, piece, engine.logprob),
                LikelyToken(99, b"other", engine.logprob - 1),
            )
            yield Token(number, word, engine.logprob, piece, others[: engine.likeliest or 0])
        self.stop_reason = "stop"


@dataclass
class FakeEngine:
    """Generates the same words for every question.

    words: the answer, a token each. logprob: of each token. before_token: called with the number of each token before
    it is generated. loading: called when the engine is loaded. likeliest: how many likely tokens come with each.
    copy: bytes that answers under an adapter add.
    """

    generation: ClassVar[int] = 1
    abilities: ClassVar[Abilities] = Abilities()

    words: tuple[str, ...] = ("A ", "cat", ".")
    logprob: float = -0.5
    before_token: Callable[[int], None] = lambda _: None
    loading: Callable[[Progress], None] = lambda _: None
    dropped_turns: int = 0
    likeliest: int | None = None
    name: str = "fake"
    context_length: int = 128
    has_vision: bool = True
    calls: list[Call] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    encoded_under: list[str | None] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    closed: bool = False
    copy: int = 0
    freed_copies: int = 0

    @property
    def adapters(self) -> CompiledAdapterPacker:
        return CompiledAdapterPacker(SHAPE, paths.cache_directory() / PACKED)

    def load(self, settings: Settings, progress: Progress) -> Any:
        del settings
        self._note()
        self.loading(progress)
        return self

    def precision(self, adapter: PackedAdapter | None = None) -> str | None:
        return "int8" if adapter is None else "float"

    def memory_under(self, adapter: PackedAdapter) -> int:
        del adapter
        return self.copy

    def free_copy(self) -> None:
        self._note()
        self.freed_copies += 1

    def load_vision(self, progress: Progress) -> None:
        del progress
        self._note()

    def is_encoded(self, image: Image, adapter: PackedAdapter | None = None) -> bool:
        del adapter
        return image.digest in self.encoded

    def image_features(self, image: Image) -> TowerFeatures:
        """Zeros, since the choice of a real router is not tested with this engine."""
        self._note()
        del image
        zeros = np.zeros((81, 1280), np.float32)
        return TowerFeatures(zeros[0], zeros, zeros[0, :COLOUR_BINS], {})

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        return np.zeros(len(text), np.int64), np.ones((len(text), 4), np.float32)

    def fits(self, messages: Sequence[Message], max_tokens: int) -> bool:
        """An image takes 10 tokens, or 40 at high detail."""
        del max_tokens
        last = [message for message in messages if message.images][-1:]
        images = [image for message in last for image in message.images]
        return sum(40 if image.detail == "high" else 10 for image in images) <= self.context_length

    def encode_image(
        self, image: Image, adapter: PackedAdapter | None = None, progress: Progress = no_progress
    ) -> FakeTokens:
        del progress
        self.encoded_under.append(None if adapter is None else adapter.name)
        self._note()
        self.encoded.append(image.digest)
        return FakeTokens()

    def certainty(self, image: Image, adapter: PackedAdapter | None = None) -> float | None:
        del adapter
        assert self.is_encoded(image), "certainty is asked for encoded images only"
        return 0.9

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: PackedAdapter | None = None,
        use_words: bool = True,
        see_images: bool = True,
        texts: Mapping[str, str],
        grammar: str | None = None,
        copying: CopyPolicy | None = None,
        cancel: threading.Event | None = None,
        progress: Progress,
    ) -> FakeGeneration:
        self._note()
        self.calls.append(
            Call(tuple(messages), sampling, adapter, use_words, see_images, texts, grammar, copying)
        )
        progress("prefill", "Reading the conversation", 0, 20)
        return FakeGeneration(self, cancel or threading.Event())

    def close(self) -> None:
        self._note()
        self.closed = True

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)


@dataclass
class FakeRouter:
    """Always chooses the same adapter."""

    adapter: str | None = "medical"
    asked: list[tuple[Query, Collection[str]]] = field(default_factory=list)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        self.asked.append((query, installed))
        found = () if self.adapter is None else (Candidate(self.adapter, 2.0, 0.5, 0.5),)
        return Choice(self.adapter, 0.9, Reason("text", {"text": "it looks like its examples"}), found)


def final(events: Sequence[Event]) -> Answer:
    """The answer with which the events end."""
    assert isinstance(events[-1], Answered), events
    return events[-1].answer


def ask(assistant: Assistant, question: str = "What is this?", **turn: object) -> Answer:
    return final(list(assistant.answer(Turn(question, **turn))))  # type: ignore[arg-type]
