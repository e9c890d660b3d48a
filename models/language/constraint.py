"""Keeps an answer within a grammar: which tokens may come next, and how the answer can be completed in time.

llguidance follows the grammar. An answer that has few tokens left is completed by the tokens of a closing, which is
known after every token, so that the text fits the grammar whatever the limit is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from models.core.errors import UserError
from models.language.tokenizer import Tokenizer

LONGEST_CLOSING = 2048
"""Tokens. A schema whose shortest answer is longer is refused."""

_ADAPTED = 4  # tokens at the beginning of a closing that may be replaced

# What completes a text in few tokens, best first: within a string, and anywhere else.
_IN_STRING = (b'"}', b'"]', b'",', b'"')
_OUTSIDE = (
    b"}", b"]", b" null", b"null", b",", b' ""', b'""', b" []", b"[]", b" {}", b"{}", b' "', b'"', b" [", b"[", b" {",
    b"{", b" ",
)  # fmt: skip
_PROBES = (b"z", b"Z", b"~")  # no JSON text has them outside strings
_BYTES = (*b"n0@:.-/123456789", *b"abcdefghijklmnopqrstuvwxyz", *range(256))
_FILLERS = (b" " * 16, b" " * 8, b" " * 4, *(bytes([byte]) for byte in _BYTES))


class Vocabulary:
    """The tokens of a model as llguidance needs them. Made once a model, which takes about 0.3 s.

    size: rows of the language model's head, which may be more than the tokenizer has tokens.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.size = size
        self._tokenizer = tokenizer
        self.ends = sorted(tokenizer.end_ids) or [0]
        self.end = self.ends[0]

    @cached_property
    def tokens(self) -> LLTokenizer:
        return LLTokenizer(
            TokenizerWrapper(_Bridge(self._tokenizer, self.end)),
            eos_token=self.ends,
            slices=LLTokenizer.json_slices(),
        )

    @cached_property
    def in_string(self) -> tuple[int, ...]:
        return self._ids(_IN_STRING)

    @cached_property
    def outside(self) -> tuple[int, ...]:
        return self._ids(_OUTSIDE)

    @cached_property
    def probes(self) -> tuple[int, ...]:
        return self._ids(_PROBES)

    @cached_property
    def fillers(self) -> dict[int, int]:
        """Tokens that fill a text of a least length or of a pattern, with their lengths."""
        known = self._tokenizer.by_bytes
        return {known[text]: len(text) for text in dict.fromkeys(_FILLERS) if text in known}

    def _ids(self, texts: Iterable[bytes]) -> tuple[int, ...]:
        known = self._tokenizer.by_bytes
        return tuple(number for text in texts if (number := known.get(text)) is not None)


class _Bridge:
    """A tokenizer in the form that TokenizerWrapper reads."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        names = {number: text.encode() for text, number in tokenizer.special.items()}
        self.eos_token_id = end
        self.bos_token_id = tokenizer.bos_id
        self.tokens = [names.get(number, tokenizer.token_bytes(number)) for number in range(len(tokenizer))]
        self.special_token_ids = sorted(names)
        self._encode = tokenizer.encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text if isinstance(text, str) else text.decode("utf-8", "replace"), special=False)


class Constraint:
    """The grammar of one answer. limit: the most tokens of the answer, the end token not counted.

    Choose a token by `permits` or `allowed`, and call `accept` with it, until an end token was chosen or `is_complete`.

    shortest: tokens of the shortest answer that is known. is_cut: whether the limit has changed a token.
    Raises UserError when no text of the grammar fits into the limit.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: str, limit: int) -> None:
        self._vocabulary = vocabulary
        self._matcher = LLMatcher(
            vocabulary.tokens, grammar, log_level=0, limits=LLParserLimits(verbose_errors=False)
        )
        self._check()
        closing = self._search(self._matcher)
        if closing is None:
            raise UserError(
                f"No answer of at most {LONGEST_CLOSING} tokens fits the schema; make it smaller."
            )
        if len(closing) > limit:
            raise UserError(
                f"The shortest answer that fits the schema takes {len(closing)} tokens, and at most {limit} are "
                "allowed; allow more or shorten the question."
            )
        self.shortest = len(closing)
        self.is_cut = False
        self._closing: list[int] = closing
        self._left = limit

    @property
    def is_complete(self) -> bool:
        """Whether the text fits the grammar and nothing can follow."""
        return self._matcher.is_stopped()

    def permits(self, token: int) -> bool:
        """Whether a token may come next. The end tokens may when the text may end here."""
        if token in self._vocabulary.ends:
            return self._matcher.is_accepting()
        return token < self._vocabulary.tokens.vocab_size and self._matcher.validate_tokens([token]) == 1

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [vocab]. The end tokens are among them when the text may end here.

        Raises UserError when the grammar takes more work than llguidance allows for one token.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.zeros(self._vocabulary.size, np.bool_)
        known = np.unpackbits(bits, bitorder="little")[: self._vocabulary.size]
        allowed[: len(known)] = known
        return allowed

    def accept(self, token: int) -> int:
        """Take a token that is allowed, other than an end token. Returns the token that was taken.

        It is another one where the text could not be completed in time after `token`: the first of a closing, or the
        end token when the text is complete.
        """
        self._left -= 1
        if self._closing and token == self._closing[0]:
            self._take(token)
            del self._closing[0]
            return token
        self._take(token)
        closing = self._closing_of(self._matcher)
        if closing is not None:
            self._closing = closing
            return token
        self._matcher.rollback(1)
        self.is_cut = True
        if not self._closing:
            return self._vocabulary.end
        first = self._closing.pop(0)
        self._take(first)
        return first

    def _closing_of(self, matcher: LLMatcher) -> list[int] | None:
        """Tokens that complete the text and fit into what is left; None when none were found."""
        closing = self._adapted(matcher)
        if closing is None:
            closing = self._search(matcher)
        return closing if closing is not None and len(closing) <= self._left else None

    def _adapted(self, matcher: LLMatcher) -> list[int] | None:
        """The closing before the last token, or its end after the end of a string, which takes less than a search."""
        heads = ((), *((token,) for token in self._vocabulary.in_string))
        for start in range(min(_ADAPTED, len(self._closing)) + 1):
            rest = [*self._closing[start:], self._vocabulary.end]
            for head in heads:
                tokens = [*head, *rest]
                if matcher.validate_tokens(tokens) == len(tokens):
                    return tokens[:-1]
        return None

    def _search(self, matcher: LLMatcher) -> list[int] | None:
        """Tokens that complete the text, few but not always the fewest; None when they are too many."""
        closing: list[int] = []
        state, used = matcher.deep_copy(), dict.fromkeys(self._vocabulary.fillers, 0)
        while not state.is_accepting():
            step = state.compute_ff_tokens() or self._best(state.compute_bitmask(), used)
            if not step or len(closing) + len(step) > LONGEST_CLOSING or not state.consume_tokens(step):
                return None
            closing += step
        return closing

    def _best(self, bits: bytes, used: dict[int, int]) -> list[int]:
        """The token that is likely to complete the text soonest, as a list; empty when there is none.

        used: how often each filler was taken. The least used is next, where a long one counts less, so that no
        repetition in a pattern is endless.
        """
        vocabulary = self._vocabulary
        in_string = any(_has(bits, token) for token in vocabulary.probes)
        for token in vocabulary.in_string if in_string else vocabulary.outside:
            if _has(bits, token):
                return [token]
        fillers = [token for token in vocabulary.fillers if _has(bits, token)]
        if not fillers:
            return []
        filler = min(fillers, key=lambda token: (used[token] + 1) / vocabulary.fillers[token])
        used[filler] += 1
        return [filler]

    def _take(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            message = " ".join(self._matcher.get_error().split())
            raise UserError(f"The schema cannot be followed: {message[:200]}.")


def _has(bits: bytes, token: int) -> bool:
    return token >> 3 < len(bits) and bool(bits[token >> 3] >> (token & 7) & 1)
