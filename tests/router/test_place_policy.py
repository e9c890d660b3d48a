"""Modes choose places by expected utility."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.place_policy import (
    DEFAULT_WEIGHTS,
    Budgets,
    Expected,
    Weights,
    escalation,
    first_place,
    scenario,
    threshold,
)
from router.types import Mode, Reason

LOCAL = Expected(correct=0.8, seconds=0.5, joules=8.0, money=0.0)
CLOUD = Expected(correct=0.95, seconds=3.0, joules=600.0, money=0.002)
SMALL = Budgets(image_side=640, tokens=128)
MODES: tuple[Mode, ...] = ("auto", "fast", "quality", "eco")


def test_only_quality_asks_the_cloud_first() -> None:
    places = {mode: first_place(scenario(mode, False), LOCAL, CLOUD).place for mode in MODES}
    assert places == {"auto": "local", "fast": "local", "quality": "cloud", "eco": "local"}


def test_quality_without_a_cloud_stays_here_and_says_why() -> None:
    placed = first_place(scenario("quality", False), LOCAL, None, Reason("offline"))
    assert placed.place == "local"
    assert placed.reasons == (Reason("mode_but", {"mode": "quality", "obstacle": Reason("offline")}),)


def test_the_threshold_is_the_clouds_utility() -> None:
    weights = {**DEFAULT_WEIGHTS, "auto": Weights(second=0.1, joule=0.0001, money=5.0)}
    wanted = scenario("auto", False, weights)
    assert threshold(wanted, CLOUD) == pytest.approx(0.95 - 0.3 - 0.06 - 0.01)
    assert not escalation(wanted, 0.59, CLOUD).escalate
    decision = escalation(wanted, 0.57, CLOUD)
    assert decision.escalate
    assert decision.reasons == (
        Reason("confidence_below", {"probability": 0.57, "threshold": threshold(wanted, CLOUD)}),
    )


def test_the_more_a_second_counts_the_worse_an_answer_may_be() -> None:
    auto, fast, quality = (threshold(scenario(mode, False), CLOUD) for mode in ("auto", "fast", "quality"))
    assert fast < auto < quality


def test_fast_gives_up_only_what_is_nearly_hopeless() -> None:
    wanted = scenario("fast", False)
    assert not escalation(wanted, 0.55, CLOUD).escalate
    assert escalation(wanted, 0.05, CLOUD).escalate


def test_eco_never_escalates_and_has_smaller_budgets() -> None:
    wanted = scenario("eco", False, eco=SMALL)
    assert not escalation(wanted, 0.0, CLOUD).escalate
    assert wanted.budgets == SMALL
    assert scenario("auto", False, eco=SMALL).budgets == Budgets()


def test_auto_leans_to_eco_on_battery_and_says_so() -> None:
    plugged, battery = scenario("auto", False, eco=SMALL), scenario("auto", True, eco=SMALL)
    assert threshold(battery, CLOUD) < threshold(plugged, CLOUD)
    assert battery.budgets == SMALL
    assert first_place(battery, LOCAL, CLOUD).reasons == (Reason("mode_on_battery", {"mode": "auto"}),)
    assert first_place(plugged, LOCAL, CLOUD).reasons == ()
    assert scenario("fast", True) == scenario("fast", False)


def test_without_a_cloud_an_answer_stays_and_the_reason_is_given() -> None:
    decision = escalation(scenario("auto", False), 0.1, None, Reason("no_cloud"))
    assert not decision.escalate
    assert decision.reasons == (Reason("confidence", {"probability": 0.1}), Reason("no_cloud"))


def test_a_cloud_that_cannot_be_asked_is_named_as_the_reason_that_a_doubtful_answer_stays() -> None:
    wanted = scenario("auto", False)
    decision = escalation(wanted, 0.1, CLOUD, Reason("offline"))
    assert not decision.escalate
    assert [reason.kind for reason in decision.reasons] == ["confidence_below", "offline"]
    assert [reason.kind for reason in escalation(wanted, 1.0, CLOUD, Reason("offline")).reasons] == [
        "confidence_enough"
    ]


@given(
    mode=st.sampled_from(MODES),
    probability=st.floats(0, 1),
    seconds=st.floats(0, 1e4),
    joules=st.floats(0, 1e6),
    money=st.floats(0, 1e3),
)
def test_a_dearer_cloud_is_never_asked_sooner(
    mode: Mode, probability: float, seconds: float, joules: float, money: float
) -> None:
    wanted = scenario(mode, False)
    cheap = Expected(0.95, seconds, joules, money)
    dear = replace(cheap, seconds=seconds + 1, joules=joules + 1, money=money + 1)
    assert 0 <= threshold(wanted, dear) <= threshold(wanted, cheap) <= 1
    assert (
        escalation(wanted, probability, cheap).escalate or not escalation(wanted, probability, dear).escalate
    )
