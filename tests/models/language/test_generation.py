"""One answer at a time: prefill, then token by token, on a runtime whose next token follows from the last."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.types import Sampling, no_progress
from models.language.generation import ActiveAdapter, Generation, LanguageModel, StopMatcher
from models.language.prefix_cache import PrefixCache
from models.language.prompt import Prompt
from models.language.tokenizer import StreamDecoder, Tokenizer

END = 99


class Counting:
    """A runtime and a tokenizer in one: token n is followed by n + 1 and reads "n "."""

    context_length, max_rows = 64, 4
    end_ids = frozenset({END})

    def __init__(self) -> None:
        self.positions: list[int] = []

    def prefill(self, tokens: Sequence[int], rows: object, position: int, lora: object) -> np.ndarray:
        del rows, lora
        self.positions += range(position, position + len(tokens))
        return self.after(int(tokens[-1]))

    def decode(self, token: int, position: int, lora: object) -> np.ndarray:
        del lora
        self.positions.append(position)
        return self.after(token)

    def after(self, token: int) -> np.ndarray:
        return np.eye(END + 1, dtype=np.float32)[token + 1]

    def stream(self) -> Counting:
        return self

    def feed(self, token: int) -> str:
        return f"{token} "

    def flush(self) -> str:
        return ""

    def token_bytes(self, token: int) -> bytes:
        return b"%d " % token


def begin(language: LanguageModel, tokens: list[int], **changes: object) -> Generation:
    sampling = Sampling(**{"max_tokens": 5, **changes})  # type: ignore[arg-type]
    return Generation(
        language,
        Prompt(tokens, ()),
        sampling,
        ActiveAdapter(None, None),
        dropped_turns=0,
        cancel=threading.Event(),
        progress=no_progress,
    )


def language() -> LanguageModel:
    both = Counting()
    return LanguageModel(both, both, PrefixCache())  # type: ignore[arg-type]


def test_starting_another_generation_ends_the_one_before() -> None:
    shared = language()
    first = begin(shared, [10, 11])
    assert next(first).text == "12 "
    second = begin(shared, [20, 21, 22])
    assert next(second).text == "23 "
    assert list(first) == []
    assert (first.stop_reason, first.text) == ("cancelled", "12 ")
    assert "".join(token.text for token in second) == "24 25 26 27 "
    assert begin(shared, [20, 21, 22, 23, 24, 25, 26, 27, 28]).__next__().text == "29 "


def test_positions_follow_one_another_over_chunks_and_decoding() -> None:
    shared = language()
    assert [token.id for token in begin(shared, list(range(10)))] == [10, 11, 12, 13, 14]
    assert shared.runtime.positions == list(range(14))  # type: ignore[attr-defined]


def test_each_token_comes_with_the_likeliest_ones_when_they_are_asked_for() -> None:
    first = next(begin(language(), [10], top_logprobs=1))
    (likely,) = first.likeliest
    assert (first.piece, likely.id, likely.piece) == (b"11 ", 11, b"11 ")
    assert likely.logprob == first.logprob
    plain = next(begin(language(), [10]))
    assert (plain.piece, plain.likeliest) == (b"", ())


def test_the_context_ends_an_answer_one_token_after_the_last_position() -> None:
    shared = language()
    tokens = list(begin(shared, [1] * 60, max_tokens=30))
    assert [token.id for token in tokens] == [2, 3, 4, 5, 6]
    assert max(shared.runtime.positions) == 63  # type: ignore[attr-defined]


def test_a_stop_sequence_ends_it_and_what_was_held_back_comes_when_it_was_none() -> None:
    stopped = begin(language(), [10], stop=("12 13",))
    assert "".join(token.text for token in stopped) == "11 "
    assert stopped.stop_reason == "stop"
    cut = begin(language(), [10], stop=("15 16",))
    assert "".join(token.text for token in cut) == "11 12 13 14 15 "
    assert cut.stop_reason == "length"


class Bytes(Counting):
    """The same runtime; token n is the byte n + 0x80, so 0x61 and 0x62 begin characters of three bytes."""

    def stream(self) -> StreamDecoder:  # type: ignore[override]
        return StreamDecoder(self)  # type: ignore[arg-type]

    def token_bytes(self, token: int) -> bytes:
        return bytes([token + 0x80])

    def decode_whole(self, tokens: Sequence[int]) -> str:
        return Tokenizer.decode(self, tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize(("last", "changes"), [(END - 1, {}), (0x61, {"max_tokens": 1})])
def test_half_a_character_at_the_end_is_shown_as_a_whole_answer_would_be(
    last: int, changes: dict[str, int]
) -> None:
    both = Bytes()
    generation = begin(LanguageModel(both, both, PrefixCache()), [last - 1], **changes)  # type: ignore[arg-type]
    tokens = list(generation)
    assert "".join(token.text for token in tokens) == generation.text == "\ufffd"
    assert generation.text == both.decode_whole([token.id for token in tokens if token.id != END])


def shown(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stops)
    text = ""
    for piece in pieces:
        text += matcher.feed(piece)
        if matcher.stopped:
            return text, True
    return text + matcher.flush(), False


@given(st.text("ab\n", max_size=30), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3), st.data())
def test_the_result_is_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    got, stopped = shown(stops, pieces)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(got)
    if not stopped:
        assert got == text
    else:
        assert any(text.startswith(stop, len(got)) for stop in stops)
        assert not any(stop in got for stop in stops)


def test_text_that_cannot_become_a_stop_is_passed_on_at_once() -> None:
    matcher = StopMatcher(["\nUser:"])
    assert matcher.feed("Hello") == "Hello"
    assert matcher.feed("\nUs") == ""
    assert matcher.feed("ually") == "\nUsually"
