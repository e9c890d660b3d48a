"""The real model answers by passages of the page when it is told to copy, at any temperature and limit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.compiled_engine import CompiledEngine
from models.core.types import Image, Message, Sampling
from models.language.copying.policy import CopyPolicy
from models.language.generation import Generation
from models.language.json_schema import grammar_of

PAGE = "INVOICE A-20417\nBlue Harbour Ltd\nDue date 14 March 2025\nTotal £699.32"
ONE_LINE = " ".join(PAGE.split())
DECLINE = "Not on the page."
COPIES = CopyPolicy((DECLINE,), margin=50.0)
GREEDY = Sampling(max_tokens=24, repetition_penalty=1.0)

pytestmark = pytest.mark.slow  # the first run downloads, packs and compiles


def ask(
    engine: CompiledEngine, question: str, sampling: Sampling = GREEDY, text: str = PAGE, **options: Any
) -> Generation:
    page = Image(np.zeros((8, 8, 3), np.uint8), "page", "page")
    made = engine.generate(
        [Message("user", question, (page,))],
        sampling,
        use_words=False,
        texts={page.digest: text} if text else {},
        **options,
    )
    tokens = list(made)
    assert "".join(token.text for token in tokens) == made.text
    return made


def in_one_line(text: str) -> str:
    return " ".join(text.lower().split())


QUESTIONS = ("What is the invoice number?", "When is it due?", "Write a poem.", "How much is it?")


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_stands_on_the_page(engine: CompiledEngine, question: str) -> None:
    answer = ask(engine, question, copying=COPIES)
    assert answer.text
    assert in_one_line(answer.text) in ONE_LINE.lower()
    assert answer.stop_reason in ("stop", "length")


def test_the_same_question_gets_the_same_answer(engine: CompiledEngine) -> None:
    first = ask(engine, QUESTIONS[0], copying=COPIES).text
    ask(engine, QUESTIONS[3], copying=COPIES)
    assert ask(engine, QUESTIONS[0], copying=COPIES).text == first


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_answer_stands_on_the_page_or_declines(engine: CompiledEngine, seed: int) -> None:
    sampling = replace(GREEDY, temperature=1.5, seed=seed)
    text = ask(engine, "Write a poem.", sampling, copying=replace(COPIES, margin=0.0)).text
    assert in_one_line(text) in ONE_LINE.lower() or DECLINE.startswith(text)


def test_without_a_text_or_within_a_grammar_nothing_is_copied(engine: CompiledEngine) -> None:
    free = ask(engine, "Write a poem.", text="").text
    assert ask(engine, "Write a poem.", text="", copying=COPIES).text == free
    grammar = grammar_of({"enum": ["no passage"]})
    assert json.loads(ask(engine, "Write a poem.", grammar=grammar, copying=COPIES).text) == "no passage"


def test_an_answer_that_begins_with_a_free_text_is_the_models_own(engine: CompiledEngine) -> None:
    free = ask(engine, "Write a poem.").text
    copied = ask(engine, "Write a poem.", copying=replace(COPIES, free=(free[:3],))).text
    assert copied == free
    assert free.lower() not in ONE_LINE.lower()


def test_the_next_turn_is_the_same_as_without_the_search_before(engine: CompiledEngine) -> None:
    """The search leaves other tokens in the KV cache, which must not be taken for the answer's."""
    follow_up = [Message("user", "Hello."), Message("assistant", "Hi!"), Message("user", "And you?")]
    before = engine.generate(follow_up, GREEDY)
    expected = "".join(token.text for token in before)
    ask(engine, QUESTIONS[1], copying=COPIES)
    after = engine.generate(follow_up, GREEDY)
    assert "".join(token.text for token in after) == expected
