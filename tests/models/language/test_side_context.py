"""What is computed beside the conversation: it is right, and the conversation does not notice."""

from __future__ import annotations

import numpy as np
import pytest

from models.compiled_engine import CompiledEngine
from models.core.types import Message, Sampling
from models.language.side_context import CONTEXT

pytestmark = pytest.mark.slow  # the first run downloads, packs and compiles

OPTIONS = (" Paris\n", " Paris, Texas\n", " Par\n", " London\n")


def test_shares_are_the_models_own_probabilities_among_the_options(engine: CompiledEngine) -> None:
    """Against every option's tokens one by one, each renormalised over what may follow."""
    text = "The capital of France is"
    encode = engine._parts.language.tokenizer.encode
    options = [encode(option, special=False) for option in OPTIONS]
    runtime = engine._parts.language.runtime
    expected = []
    for option in options:
        share, said = 1.0, list(encode(text, special=False))
        for number, token in enumerate(option):
            logits = runtime.prefill(np.array(said, np.int32), None, 0).astype(np.float64)
            allowed = sorted({other[number] for other in options if other[:number] == option[:number]})
            odds = np.exp(logits[allowed] - logits[allowed].max())
            share *= float(odds[allowed.index(token)] / odds.sum())
            said.append(token)
        expected.append(share)
    engine._parts.language.prefix.begin([0], None)  # this test wrote over what the cache says it holds
    shares = engine.continuation_shares(text, OPTIONS)
    assert shares.sum() == pytest.approx(1)
    assert shares == pytest.approx(expected, rel=1e-3)
    assert shares[3] < 0.1


def test_one_option_is_certain(engine: CompiledEngine) -> None:
    assert engine.continuation_shares("Say", [" something\n"]).tolist() == [1.0]


def test_what_does_not_fit_is_refused_before_anything_is_computed(engine: CompiledEngine) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        engine.continuation_shares("word " * CONTEXT, OPTIONS)


def test_a_conversation_goes_on_where_it_was(engine: CompiledEngine) -> None:
    messages = [Message("user", "What is the capital of France?")]
    sampling = Sampling(max_tokens=8)
    first = engine.generate(messages, sampling)
    tokens = list(first)
    engine.continuation_shares("The capital of Spain is", OPTIONS)
    again = engine.generate(messages, sampling)
    assert [token.id for token in again] == [token.id for token in tokens]
    assert again.cached_tokens == again.prompt_tokens - 1, "nothing was computed twice but the last token"
