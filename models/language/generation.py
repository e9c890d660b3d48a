"""One answer: prefill of what the KV cache lacks, then decoding token by token, with stop sequences.

One thread must make all calls: the engine's. The cancel event may be set from any thread. It is checked between
tokens and between the chunks of a prefill.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from models.core.types import LikelyToken, Progress, Sampling, StopReason, Token
from models.language.copying.policy import CopyPolicy
from models.language.copying.search import CopyModel, CopySearch, ScoredToken
from models.language.prefix_cache import AdapterKey, PrefixCache
from models.language.prompt import Prompt
from models.language.runtime import LlamaRuntime
from models.language.sampling import Logits, Sampler, likeliest, log_probability
from models.language.tokenizer import StreamDecoder, Tokenizer
from models.lora.weights import PackedLora

if TYPE_CHECKING:
    from models.language.constraint import Constraint, Vocabulary
    from models.language.copying.passages import Copy


SHORT_CHUNK, LONG_CHUNK = 0.08, 0.2
"""Seconds of a chunk of a prefill below which the next one is longer, and above which it is shorter. An answer is
stopped between two chunks."""

FIRST_ROWS, LEAST_ROWS = 64, 32
"""Tokens of the first chunk, before the speed is known, and at least. The result does not depend on the chunks."""


@dataclass(frozen=True)
class LanguageModel:
    """A runtime with its tokenizer, and the record of its KV cache, which successive answers share."""

    runtime: LlamaRuntime
    tokenizer: Tokenizer
    prefix: PrefixCache

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens in the form that constrained decoding needs."""
        # Imported here: llguidance is loaded only for answers that fit a schema.
        from models.language.constraint import Vocabulary

        return Vocabulary(self.tokenizer, self.runtime.shape.vocab)


@dataclass(frozen=True)
class ActiveAdapter:
    """The adapter of one answer. key: the identity under which its keys and values are cached.

    packed: the tensor for the compiled functions; None for the plain language model.
    """

    key: AdapterKey
    packed: PackedLora | None


class Generation(Iterator[Token]):
    """Iterate for the answer's tokens; nothing is computed before the first `next`.

    A token's text may be empty while a character or a possible stop sequence is incomplete. When the model ends
    the answer, the last token is the end-of-sequence token. It carries the text that was held back and is not
    counted in `completion_tokens`. The texts of all tokens concatenate to `text`, which begins without blanks: where a
    template's prompt ends without one, the model begins with it. When another generation begins
    on the same KV cache, this one ends with the stop reason "cancelled".

    With a grammar the text is one of the grammar's, unless the answer is cancelled, and stop sequences are ignored. The
    answer ends where nothing can follow. If the limit of tokens made it shorter, the stop reason is "length". Raises
    UserError at the first `next` when no text of the grammar fits into the limit.

    With a copy policy and pages the answer is a passage of the pages, or one of the policy's declines, unless the model
    would begin with one of the texts in `free`. Its first token may come when all of it is known.

    prompt_tokens, image_tokens: the prompt's length, and how much of it are image rows.
    dropped_turns: turns that were left out because the conversation exceeds the context.
    cached_tokens: prompt tokens whose keys and values were in the KV cache already.
    prefill_ms, decode_ms: milliseconds of the two phases so far.
    stop_reason: None until the answer has ended.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: Prompt,
        sampling: Sampling,
        adapter: ActiveAdapter,
        *,
        grammar: str | None = None,
        copying: CopyPolicy | None = None,
        pages: Sequence[str] = (),
        dropped_turns: int,
        cancel: threading.Event,
        progress: Progress,
    ) -> None:
        self.prompt_tokens = len(prompt.tokens)
        self.image_tokens = prompt.image_tokens
        self.dropped_turns = dropped_turns
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.stop_reason: StopReason | None = None
        self.prefill_ms = 0.0
        self.decode_ms = 0.0
        self.text = ""
        self._model = model
        self._prompt = prompt
        self._sampling = sampling
        self._adapter = adapter
        self._grammar = grammar
        self._copying = copying if pages else None
        self._pages = pages
        self._cancel = cancel
        self._progress = progress
        self._tokens = self._generate()

    def __next__(self) -> Token:
        return next(self._tokens)

    def close(self) -> None:
        """End the answer early. Keys and values computed so far stay in the KV cache."""
        self._tokens.close()

    def _generate(self) -> Generator[Token, None, None]:
        started = time.perf_counter()
        sampler, constraint = Sampler(self._sampling), self._constraint()
        logits = self._prefill()
        if logits is None:
            self.stop_reason = "cancelled"
            return
        self.prefill_ms = _milliseconds(started)
        if constraint is not None:
            yield from self._decode_within(constraint, logits, sampler)
        elif self._copying is not None and not self._is_free(self._copying, logits):
            yield from self._decode(self._copied_steps(self._copying, logits, sampler))
        else:
            yield from self._decode(self._steps(logits, sampler))

    def _prefill(self) -> Logits | None:
        """Compute keys and values of the prompt. Returns its last logits [vocab], or None when cancelled."""
        runtime, prefix = self._model.runtime, self._model.prefix
        tokens = self._prompt.tokens
        self.cached_tokens = position = prefix.begin(tokens, self._adapter.key)
        logits, start, rows = None, position, FIRST_ROWS
        while start < len(tokens):
            if self._cancel.is_set():
                return None
            self._progress("prefill", "Reading the conversation", start - position, len(tokens) - position)
            end, began = start + min(rows, runtime.max_rows), time.perf_counter()
            logits = runtime.prefill(*self._prompt.inputs(start, end), start, self._adapter.packed)
            prefix.extend(tokens[start:end])
            seconds, start = time.perf_counter() - began, end
            if seconds < SHORT_CHUNK:
                rows *= 2
            elif seconds > LONG_CHUNK:
                rows = max(LEAST_ROWS, rows // 2)
        return logits

    def _decode(self, steps: Iterator[ScoredToken]) -> Iterator[Token]:
        """Decode and yield the tokens of steps until the answer ends. The next step is computed after the yield."""
        prefix, tokenizer = self._model.prefix, self._model.tokenizer
        decoder, stops = tokenizer.stream(), StopMatcher(self._sampling.stop)
        limit = self._limit()
        decoding, own = time.perf_counter(), prefix.begun
        for step in steps:
            if step.token in tokenizer.end_ids:
                self.stop_reason = "stop"
                yield self._token(step, _held_back(decoder, stops))
                return
            self.completion_tokens += 1
            text = stops.feed(decoder.feed(step.token))
            self.stop_reason = self._reason(stops, limit)
            if self.stop_reason in ("length", "cancelled"):
                text += _held_back(decoder, stops)
            yield self._token(step, text)
            self.decode_ms = _milliseconds(decoding)
            if self.stop_reason is None and (self._cancel.is_set() or prefix.begun != own):
                self.stop_reason = "cancelled"
            if self.stop_reason is not None:
                return
        self.stop_reason = "cancelled"

    def _steps(self, logits: Logits, sampler: Sampler, choice: Copy | None = None) -> Iterator[ScoredToken]:
        """Choose token after token. logits: of the first one, float32 [vocab]. choice: tokens to choose among."""
        runtime, prefix, ends = self._model.runtime, self._model.prefix, self._model.tokenizer.end_ids
        while True:
            token, logprob = sampler.choose(logits, choice)
            yield ScoredToken(token, logprob, self._likeliest(logits))
            if choice is not None and token not in ends:
                choice.accept(token)
            logits = runtime.decode(token, len(prefix), self._adapter.packed)
            prefix.extend([token])

    def _copied_steps(self, policy: CopyPolicy, logits: Logits, sampler: Sampler) -> Iterator[ScoredToken]:
        """The steps of the likeliest copy, or of one that is drawn when a temperature is set.

        The search leaves the tokens of other copies in the KV cache, so none is recorded as part of the prefix.
        """
        model, position = self._model, len(self._model.prefix)
        search = CopySearch(
            CopyModel(
                model.tokenizer,
                model.runtime.shape.vocab,
                lambda token, after: model.runtime.decode(token, position + after, self._adapter.packed),
                self._likeliest,
                self._limit(),
                self._cancel,
            ),
            policy,
            self._pages,
        )
        if self._sampling.temperature == 0.0:
            return search.steps(logits)
        return self._steps(logits, sampler, search.choice())

    def _is_free(self, policy: CopyPolicy, logits: Logits) -> bool:
        """Whether the model would begin an answer that is not copied. logits: of its first token."""
        begins = self._model.tokenizer.token_bytes(int(logits.argmax())).lstrip()
        texts = [text.encode() for text in policy.free if begins]
        return any(begins.startswith(text) or text.startswith(begins) for text in texts)

    def _decode_within(self, constraint: Constraint, logits: Logits, sampler: Sampler) -> Iterator[Token]:
        """As `_decode`, within a grammar."""
        runtime, prefix, ends = self._model.runtime, self._model.prefix, self._model.tokenizer.end_ids
        decoder, decoding, own = self._model.tokenizer.stream(), time.perf_counter(), prefix.begun
        while True:
            chosen, logprob = sampler.choose(logits, constraint)
            token = chosen if chosen in ends else constraint.accept(chosen)
            if token in ends:
                break
            if token != chosen:
                logprob = log_probability(logits, token)
            self.completion_tokens += 1
            yield self._token(ScoredToken(token, logprob, self._likeliest(logits)), decoder.feed(token))
            self.decode_ms = _milliseconds(decoding)
            if constraint.is_complete:
                break
            if self._cancel.is_set() or prefix.begun != own:
                self.stop_reason = "cancelled"
                return
            logits = runtime.decode(token, len(prefix), self._adapter.packed)
            prefix.extend([token])
        self.stop_reason = "length" if constraint.is_cut else "stop"

    def _constraint(self) -> Constraint | None:
        if self._grammar is None:
            return None
        from models.language.constraint import Constraint

        return Constraint(self._model.vocabulary, self._grammar, self._limit())

    def _limit(self) -> int:
        """The most tokens of the answer. The last token's keys and values are not needed."""
        free = self._model.runtime.context_length - len(self._prompt.tokens)
        return min(self._sampling.max_tokens, free + 1)

    def _token(self, step: ScoredToken, text: str) -> Token:
        """Add a token's text to the answer, without the blanks at the beginning of the answer."""
        added = text if self.text else text.lstrip()
        self.text += added
        if self._sampling.top_logprobs is None:
            return Token(step.token, added, step.logprob)
        piece = self._model.tokenizer.token_bytes(step.token)
        return Token(step.token, added, step.logprob, piece, step.likeliest)

    def _likeliest(self, logits: Logits) -> tuple[LikelyToken, ...]:
        """As many as are asked for. logits: float32 [vocab]."""
        piece = self._model.tokenizer.token_bytes
        found = likeliest(logits, self._sampling.top_logprobs or 0)
        return tuple(LikelyToken(each, piece(each), value) for each, value in found)

    def _reason(self, stops: StopMatcher, limit: int) -> StopReason | None:
        if stops.stopped:
            return "stop"
        if self.completion_tokens >= limit:
            return "length"
        return "cancelled" if self._cancel.is_set() else None


class StopMatcher:
    """Finds stop sequences in a stream of text pieces.

    Text is passed on as soon as it can no longer be the beginning of a stop sequence.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Add a piece and return the text that can be shown. Sets `stopped` when a stop sequence is complete.

        The stop sequence and everything after it are never returned.
        """
        self._held += text
        ends = [found for stop in self._stops if (found := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            shown, self._held = self._held[: min(ends)], ""
            return shown
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """The text that was held back, at the end of the stream."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` with which `text` ends."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


def _held_back(decoder: StreamDecoder, stops: StopMatcher) -> str:
    """The text that was held back at the end of an answer: U+FFFD for an incomplete character, then a partial stop."""
    return stops.feed(decoder.flush()) + stops.flush()


def _milliseconds(since: float) -> float:
    return (time.perf_counter() - since) * 1000.0
