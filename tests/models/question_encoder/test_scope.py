"""The bundled question encoder: vectors, and the scope of tasks that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.question_encoder.encoder import HIDDEN, QuestionEncoder, quantised
from models.question_encoder.scope import ScopeModel

TASKS = {
    "ripeness": ["Is the avocado ripe?", "How ripe is it?", "Can it be eaten already?"],
    "count": ["How many avocados are there?", "Count the avocados."],
}


@pytest.fixture(scope="module")
def model() -> ScopeModel:
    return ScopeModel.load()


@pytest.fixture(scope="module")
def encoder() -> QuestionEncoder:
    return QuestionEncoder.load()


def test_vectors_have_length_one_whatever_the_text(encoder: QuestionEncoder) -> None:
    texts = ["What is this?", "", "?", "wort " * 500, "什么", "\x00\ud83d"[:1], "a"]
    vectors = encoder.vectors(texts)
    assert vectors.shape == (len(texts), HIDDEN)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)


def test_half_of_a_surrogate_pair_counts_as_a_question_mark(encoder: QuestionEncoder) -> None:
    vectors = encoder.vectors(["What is \udcff this?", "What is ? this?"])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-6)


def test_a_text_has_the_same_vector_alone_and_among_longer_ones(encoder: QuestionEncoder) -> None:
    texts = ["Total?", "What is the colour of the largest circle in this picture?", "How many are there?"]
    together = encoder.vectors(texts)
    for text, vector in zip(texts, together, strict=True):
        assert encoder.vectors([text])[0] == pytest.approx(vector, abs=1e-4)


def test_what_the_lower_layers_give_is_a_unit_vector_of_its_own(encoder: QuestionEncoder) -> None:
    vectors, lower = encoder.read(["What is the total?", "Is it a circle?"])
    assert np.linalg.norm(lower, axis=1) == pytest.approx(1, abs=1e-3)
    assert np.abs(lower - vectors).max() > 0.01


def test_case_does_not_count(encoder: QuestionEncoder) -> None:
    lower, upper = encoder.vectors(["what is the total?", "WHAT IS THE TOTAL?"])
    assert lower == pytest.approx(upper, abs=1e-6)


def test_quantised_rows_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    codes, scale = quantised(weight)
    assert codes.dtype == np.int8
    assert np.abs(codes * scale[:, None] - weight).max(axis=1) == pytest.approx(0, abs=scale.max() / 2 + 1e-6)


@pytest.mark.parametrize(
    "question",
    ["is this avocado ripe yet?", "Please count how many avocados you see.", "number of avocados?"],
)
def test_a_task_in_other_words_is_in_scope(model: ScopeModel, question: str) -> None:
    assert model.logit(model.vector(question), model.encode(TASKS)) > 0


@pytest.mark.parametrize(
    "question",
    [
        "Who took this picture?",
        "What do avocados cost in Peru?",
        "Thanks!",
        "Tell me a joke.",
        "Who are you?",
    ],
)
def test_what_no_task_asks_is_out_of_scope(model: ScopeModel, question: str) -> None:
    assert model.logit(model.vector(question), model.encode(TASKS)) < 0


def test_more_tasks_never_need_the_others_to_be_asked_again(model: ScopeModel) -> None:
    question = model.vector("How ripe is the avocado?")
    one = model.logit(question, model.encode({"ripeness": TASKS["ripeness"]}))
    both = model.logit(question, model.encode(TASKS))
    assert both >= one


def test_tasks_may_have_a_rule_and_a_border(model: ScopeModel) -> None:
    question, tasks = model.vector("How ripe is the avocado?"), model.encode(TASKS)
    plain = model.logit(question, tasks)
    assert model.logit(question, replace(tasks, border=1.5)) == pytest.approx(plain - 1.5)
    ruled = replace(tasks, weight=2 * question.lower)
    assert model.logit(question, ruled) == pytest.approx(plain + 2, abs=1e-3)
