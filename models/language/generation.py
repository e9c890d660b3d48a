"""One answer: prefill of what the KV cache lacks, then a token at a time. Knows nothing of files or threads.

Belongs to the engine's thread. Cancelling is an event that any thread may set; it is looked at between tokens
and between the chunks of a prefill.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

from models.core.types import Progress, Sampling, Token
from models.language.prefix_cache import AdapterKey, PrefixCache
from models.language.prompt import Prompt
from models.language.runtime import LlamaRuntime
from models.language.sampling import Logits, Sampler
from models.language.stop_sequences import StopMatcher
from models.language.tokenizer import StreamDecoder, Tokenizer
from models.lora.weights import PackedLora

StopReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Language:
    """The parts of an engine that turn a prompt into tokens, and the state they share across answers."""

    runtime: LlamaRuntime
    tokenizer: Tokenizer
    prefix: PrefixCache


@dataclass(frozen=True)
class Adapter:
    """A LoRA ready to be passed to the compiled functions, and the identity its KV entries are kept under."""

    key: AdapterKey
    packed: PackedLora | None


class Generation(Iterator[Token]):
    """Iterate for the answer's tokens; nothing is computed before the first `next`.

    A token's text may be empty while a character or a possible stop sequence is incomplete. When the model
    ends the answer, the last token is the end-of-sequence token, with whatever text was held back; it is
    not counted in completion_tokens. The texts of all tokens add up to `text`. When another generation has
    begun on the same KV cache, this one ends as cancelled.
    """

    def __init__(
        self,
        language: Language,
        prompt: Prompt,
        sampling: Sampling,
        adapter: Adapter,
        *,
        dropped_turns: int,
        cancel: threading.Event,
        progress: Progress,
    ) -> None:
        self.prompt_tokens = len(prompt.atoms)
        self.image_tokens = prompt.image_tokens
        self.dropped_turns = dropped_turns
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.stop_reason: StopReason | None = None
        self.prefill_ms = 0.0
        self.first_token_ms = 0.0
        self.decode_ms = 0.0
        self.text = ""
        self._language = language
        self._prompt = prompt
        self._sampling = sampling
        self._adapter = adapter
        self._cancel = cancel
        self._progress = progress
        self._tokens = self._generate()

    def __next__(self) -> Token:
        return next(self._tokens)

    def close(self) -> None:
        """End early; what was computed stays in the KV cache."""
        self._tokens.close()

    def _generate(self) -> Generator[Token, None, None]:
        started = time.perf_counter()
        sampler = Sampler(self._sampling)
        logits = self._prefill()
        if logits is None:
            self.stop_reason = "cancelled"
            return
        self.prefill_ms = _milliseconds(started)
        yield from self._decode(logits, sampler, started)

    def _prefill(self) -> Logits | None:
        """Compute keys and values of the prompt; its last logits, or None when it was cancelled."""
        runtime, prefix = self._language.runtime, self._language.prefix
        atoms = self._prompt.atoms
        self.cached_tokens = position = prefix.begin(atoms, self._adapter.key)
        logits = None
        for start in range(position, len(atoms), runtime.max_rows):
            if self._cancel.is_set():
                return None
            self._progress("prefill", "Reading the conversation", start - position, len(atoms) - position)
            chunk = self._prompt.inputs(start, start + runtime.max_rows)
            logits = runtime.prefill(*chunk, start, self._adapter.packed)
            prefix.extend(atoms[start : start + runtime.max_rows])
        return logits

    def _decode(self, logits: Logits, sampler: Sampler, started: float) -> Iterator[Token]:
        runtime, prefix, tokenizer = self._language.runtime, self._language.prefix, self._language.tokenizer
        decoder, stops = tokenizer.stream(), StopMatcher(self._sampling.stop)
        room = runtime.context_length - len(prefix)
        limit = min(self._sampling.max_tokens, room + 1)  # the last token's keys and values are not needed
        token, logprob = sampler.choose(logits)
        self.first_token_ms = _milliseconds(started)
        decoding, own = time.perf_counter(), prefix.begun
        while token not in tokenizer.end_ids:
            self.completion_tokens += 1
            text = stops.feed(decoder.feed(token))
            self.stop_reason = self._reason(stops, limit)
            if self.stop_reason in ("length", "cancelled"):
                text += _held_back(decoder, stops)
            self.text += text
            yield Token(token, text, logprob)
            self.decode_ms = _milliseconds(decoding)
            if self.stop_reason is None and (self._cancel.is_set() or prefix.begun != own):
                self.stop_reason = "cancelled"
            if self.stop_reason is not None:
                return
            logits = runtime.decode(token, len(prefix), self._adapter.packed)
            prefix.extend([token])
            token, logprob = sampler.choose(logits)
        self.stop_reason = "stop"
        text = _held_back(decoder, stops)
        self.text += text
        yield Token(token, text, logprob)

    def _reason(self, stops: StopMatcher, limit: int) -> StopReason | None:
        if stops.stopped:
            return "stop"
        if self.completion_tokens >= limit:
            return "length"
        return "cancelled" if self._cancel.is_set() else None


def _held_back(decoder: StreamDecoder, stops: StopMatcher) -> str:
    """What is left to show when nothing more comes: U+FFFD for half a character, half a stop sequence."""
    return stops.feed(decoder.flush()) + stops.flush()


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000.0
