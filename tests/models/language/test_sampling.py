"""Greedy is argmax; filters keep what their papers say, seeds reproduce, logprobs are the model's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import UserError
from models.core.types import Sampling
from models.language.sampling import Sampler, likeliest, log_probability

VOCABULARY = 500


def random_logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, VOCABULARY).astype(np.float32)


def drawn(sampling: Sampling, logits: np.ndarray, count: int = 400) -> set[int]:
    sampler = Sampler(sampling)
    return {sampler.choose(logits)[0] for _ in range(count)}


def test_greedy_takes_the_most_likely_token_and_reports_its_log_probability() -> None:
    logits = random_logits()
    token, logprob = Sampler(Sampling()).choose(logits)
    reference = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    assert token == logits.argmax()
    assert logprob == pytest.approx(reference.max(), abs=1e-5)


def test_the_log_probability_is_the_models_own_whatever_the_temperature_and_penalty() -> None:
    logits = random_logits()
    sampler = Sampler(Sampling(temperature=0.3, repetition_penalty=1.5, seed=1))
    chosen = [sampler.choose(logits) for _ in range(50)]
    assert len({token for token, _ in chosen}) < len(chosen)  # some were penalised when they came again
    for token, logprob in chosen:
        assert logprob == pytest.approx(log_probability(logits, token))


def test_the_same_seed_gives_the_same_tokens_and_another_seed_gives_others() -> None:
    logits = random_logits()

    def run(seed: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.5, seed=seed))
        return [sampler.choose(logits)[0] for _ in range(50)]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_top_k_draws_only_from_the_k_largest() -> None:
    logits = random_logits()
    assert drawn(Sampling(temperature=5.0, top_k=5, seed=0), logits) == set(np.argsort(logits)[-5:].tolist())


def test_top_k_of_one_is_greedy_at_any_temperature() -> None:
    logits = random_logits()
    assert drawn(Sampling(temperature=5.0, top_k=1, seed=0), logits) == {int(logits.argmax())}


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.01, 3.0])  # a flat distribution needs more than the first guess
def test_top_p_draws_only_from_the_smallest_set_that_reaches_p(top_p: float, spread: float) -> None:
    logits = random_logits() * np.float32(spread)
    probabilities = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    order = np.argsort(probabilities)[::-1]
    size = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1
    assert drawn(Sampling(temperature=1.0, top_p=top_p, seed=0), logits, 2000) <= set(order[:size].tolist())


def test_top_p_sorts_more_tokens_when_its_first_guess_does_not_reach_p() -> None:
    flat = np.zeros(2000, np.float32)
    assert len(drawn(Sampling(temperature=1.0, top_p=0.9, seed=0), flat, 2000)) > 600


def test_min_p_drops_what_is_far_less_likely_than_the_best() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    assert drawn(Sampling(temperature=1.0, min_p=0.25, seed=0), logits) == {0, 1, 2}


def test_the_repetition_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    for logits in ([2.0, 1.9, -9.0], [-1.0, -1.1, -9.0]):
        sampler = Sampler(Sampling(repetition_penalty=1.2))
        assert [sampler.choose(np.array(logits, dtype=np.float32))[0] for _ in range(2)] == [0, 1]


def test_choosing_leaves_the_logits_as_they_were() -> None:
    logits = random_logits()
    before = logits.copy()
    sampler = Sampler(Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.3, seed=0))
    for _ in range(3):
        sampler.choose(logits)
    np.testing.assert_array_equal(logits, before)


@given(
    st.floats(0.0, 5.0),
    st.integers(0, 600),
    st.floats(0.01, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.5, 2.0),
    st.integers(0, 9),
)
def test_any_legal_settings_choose_a_token_of_the_vocabulary(
    temperature: float, top_k: int, top_p: float, min_p: float, penalty: float, seed: int
) -> None:
    sampling = Sampling(temperature, top_k, top_p, min_p, penalty, seed)
    token, logprob = Sampler(sampling).choose(random_logits(seed))
    assert 0 <= token < VOCABULARY
    assert logprob <= 0


@pytest.mark.parametrize(
    "wrong",
    [
        Sampling(temperature=-1),
        Sampling(temperature=float("nan")),
        Sampling(top_p=0),
        Sampling(top_k=-1),
        Sampling(max_tokens=0),
        Sampling(stop=("",)),
    ],
)
def test_settings_out_of_range_are_refused_in_one_sentence(wrong: Sampling) -> None:
    with pytest.raises(UserError, match=r"\.$"):
        Sampler(wrong)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_no_numbers_choose_nothing(temperature: float, wrong: float) -> None:
    logits = np.zeros(8, np.float32)
    logits[3] = wrong
    with pytest.raises(UserError, match="no numbers"):
        Sampler(Sampling(temperature=temperature)).choose(logits)


def test_the_likeliest_tokens_come_in_order_with_their_own_log_probabilities() -> None:
    logits = np.array([0.0, 3.0, -1.0, 2.0], np.float32)
    found = likeliest(logits, 2)
    assert [token for token, _ in found] == [1, 3]
    assert [value for _, value in found] == [log_probability(logits, 1), log_probability(logits, 3)]
    assert likeliest(logits, 0) == [] and len(likeliest(logits, 4)) == 4
