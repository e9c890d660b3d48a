"""Accuracy against cloud share, and what a division of questions is worth, on cases that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.scenarios.measures import (
    AnswerPair,
    ScoredAnswer,
    curve,
    mixed,
    outcome,
    perfect_scores,
    sent_by,
    worth_sending,
)
from router.place_policy import Weights, scenario


def query(local: bool, cloud: bool = True, probability: float = 0.5) -> AnswerPair:
    return AnswerPair(probability, ScoredAnswer(local, 1.0, 10.0, 0.0), ScoredAnswer(cloud, 3.0, 100.0, 0.01))


FOUR = [
    query(True, probability=0.9),
    query(True, probability=0.8),
    query(False, probability=0.3),
    query(True, False, 0.6),
]
QUERIES = st.lists(st.builds(query, st.booleans(), st.booleans(), st.floats(0, 1)), min_size=2, max_size=20)


def test_a_curve_runs_from_all_local_to_all_cloud() -> None:
    own = curve(FOUR, [each.probability for each in FOUR])
    assert own.accuracy == (0.75, 1.0, 0.75, 0.75, 0.75)
    assert own.apgr is None  # the cloud is as often right as the device
    assert own.at(0.25) == 1.0
    assert own.at(0.49) == 1.0


def test_a_perfect_order_recovers_everything_with_what_is_wrong_here() -> None:
    queries = [query(True), query(True), query(True), query(False)]
    perfect = curve(queries, perfect_scores(queries))
    assert perfect.cpt(80) == perfect.cpt(50) == 0.25
    assert perfect.apgr == pytest.approx(1 - 0.25 / 2)
    worst = curve(queries, [-score for score in perfect_scores(queries)])
    assert worst.cpt(50) == 1.0


@given(QUERIES)
def test_equal_scores_are_a_random_order(queries: list[AnswerPair]) -> None:
    own = curve(queries, [0.0] * len(queries))
    if own.apgr is not None:
        assert own.apgr == pytest.approx(0.5)
        assert own.cpt(50) == pytest.approx(0.5, abs=1 / len(queries))


@given(QUERIES)
def test_no_order_beats_the_perfect_one(queries: list[AnswerPair]) -> None:
    own = curve(queries, [each.probability for each in queries])
    perfect = curve(queries, perfect_scores(queries))
    assert own.accuracy[0] == pytest.approx(perfect.accuracy[0])
    assert own.accuracy[-1] == pytest.approx(perfect.accuracy[-1])
    assert all(a <= b + 1e-9 for a, b in zip(own.accuracy, perfect.accuracy, strict=True))


def test_an_escalated_answer_costs_both() -> None:
    queries = [query(True), query(False)]
    after = outcome(queries, [False, True], after_local=True)
    assert (after.apsp, after.ca) == (1.0, 0.5)
    assert after.ail == pytest.approx((1 + 1 + 3) / 2)
    assert after.joules == pytest.approx((10 + 10 + 100) / 2)
    instead = outcome(queries, [False, True], after_local=False)
    assert instead.ail == pytest.approx((1 + 3) / 2)
    assert instead.money == pytest.approx(0.005)


def test_what_is_declined_or_sent_is_not_kept_out_of_scope() -> None:
    answered = replace(query(False), in_scope=False)
    declined = replace(answered, local=replace(answered.local, declined=True))
    queries = [query(True), answered, answered, declined]
    assert outcome(queries, [False, True, False, False], after_local=True).out_kept == pytest.approx(1 / 3)
    assert outcome(queries[:1], [False], after_local=True).out_kept is None
    local, cloud = (outcome(queries, [sent] * 4, after_local=False) for sent in (False, True))
    assert mixed(local, cloud, 0.5).out_kept == pytest.approx(1 / 3)


def test_rcs_is_the_mean_utility() -> None:
    own = outcome([query(True), query(False)], [False, True], after_local=True)
    assert own.rcs(Weights(0.1, 0.001, 2.0)) == pytest.approx(1.0 - 0.25 - 0.06 - 0.01)


def test_choosing_at_random_lies_between() -> None:
    local, cloud = (outcome(FOUR, [sent] * 4, after_local=False) for sent in (False, True))
    half = mixed(local, cloud, 0.5)
    assert half.ca == 0.5
    assert half.ail == pytest.approx(2.0)


def test_modes_send_what_they_say() -> None:
    assert sent_by(scenario("quality", False), 0.9, FOUR) == [True] * 4
    assert sent_by(scenario("eco", False), 0.9, FOUR) == [False] * 4
    assert sent_by(scenario("auto", False), 0.7, FOUR) == [False, False, True, True]


@given(QUERIES)
def test_no_division_scores_higher_than_the_perfect_one(queries: list[AnswerPair]) -> None:
    weights = Weights(0.1, 0.0005, 1.0)
    best = outcome(queries, worth_sending(queries, weights), after_local=False).rcs(weights)
    for sent in ([True] * len(queries), [False] * len(queries)):
        assert outcome(queries, sent, after_local=False).rcs(weights) <= best + 1e-9
