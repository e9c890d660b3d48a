"""AUROC and calibration, against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.evaluation.calibration import Bin, auroc, calibration_error, reliability

SCORED = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(SCORED)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    right = [score for score, was in pairs if was]
    wrong = [score for score, was in pairs if not was]
    found = auroc([score for score, _ in pairs], [was for _, was in pairs])
    if not right or not wrong:
        assert found is None
        return
    wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    assert found == pytest.approx(wins / (len(right) * len(wrong)))


def test_a_perfect_order_has_1_and_its_reverse_0() -> None:
    right = [False, False, True, True]
    assert auroc([0.1, 0.2, 0.8, 0.9], right) == 1
    assert auroc([0.9, 0.8, 0.2, 0.1], right) == 0


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    said = [0.75] * 4 + [0.25] * 4
    right = [True, True, True, False, True, False, False, False]
    assert calibration_error(said, right) == pytest.approx(0)
    assert calibration_error(said, [not was for was in right]) == pytest.approx(0.5)


def test_bins_hold_what_was_said_and_what_came_true() -> None:
    bins = reliability([0.91, 0.99, 1.0, 0.05], [True, False, True, False])
    assert bins == (Bin(1, 0.05, 0.0), Bin(3, pytest.approx(2.9 / 3), pytest.approx(2 / 3)))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_the_error_is_a_share_and_no_answer_is_lost(pairs: list[tuple[float, bool]]) -> None:
    said, right = [p for p, _ in pairs], [was for _, was in pairs]
    assert sum(each.count for each in reliability(said, right)) == len(pairs)
    assert 0 <= calibration_error(said, right) <= 1
