"""The breaker's states, on a clock that the tests set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.cloud.breaker import FAILURES, FIRST_REST, MOST_REST, Breaker
from edge_app.cloud.errors import CloudError

AT = "the cloud at api.example.com"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.end("timeout", trial=breaker.enter(AT))


def state(breaker: Breaker) -> str:
    return breaker.state


def test_one_hiccup_does_not_open_it(breaker: Breaker) -> None:
    for _ in range(5):
        fail(breaker, FAILURES - 1)
        breaker.end(None, trial=breaker.enter(AT))
    assert state(breaker) == "closed"


def test_failures_in_a_row_open_it_and_say_for_how_long(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += 10
    with pytest.raises(
        CloudError, match=r"The cloud at api.example.com failed 3 times .* 20 seconds"
    ) as caught:
        breaker.enter(AT)
    assert caught.value.kind == "resting"


def test_after_its_rest_one_trial_goes_out_and_no_second_one(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += FIRST_REST
    assert state(breaker) == "half-open"
    assert breaker.enter(AT) is True
    with pytest.raises(CloudError):
        breaker.enter(AT)
    breaker.end(None, trial=True)
    assert breaker.enter(AT) is False
    fail(breaker)
    assert state(breaker) == "closed", "one hiccup after it recovered opens nothing"


def test_each_failed_trial_doubles_the_rest_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    rest = FIRST_REST
    for _ in range(8):
        clock.now += rest - 0.5
        assert state(breaker) == "open"
        clock.now += 0.5
        fail(breaker)
        rest = min(MOST_REST, rest * 2)
    assert rest == MOST_REST


def test_a_wrong_key_is_no_illness_and_a_stop_says_nothing(breaker: Breaker, clock: Clock) -> None:
    for _ in range(FAILURES + 1):
        breaker.end("unauthorised", trial=breaker.enter(AT))
    assert state(breaker) == "closed"
    fail(breaker, FAILURES)
    clock.now += FIRST_REST
    breaker.end("cancelled", trial=breaker.enter(AT))
    assert state(breaker) == "half-open"


@given(st.lists(st.sampled_from(["timeout", "ok", "forbidden", "cancelled", "wait"]), max_size=60))
def test_it_never_stays_shut_for_ever(steps: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for step in steps:
        if step == "wait":
            clock.now += 100
            continue
        try:
            trial = breaker.enter(AT)
        except CloudError:
            continue
        breaker.end(None if step == "ok" else step, trial=trial)  # type: ignore[arg-type]
    clock.now += MOST_REST
    breaker.end(None, trial=breaker.enter(AT))
    assert state(breaker) == "closed"


def test_a_question_sent_before_the_breaker_opened_does_not_end_the_trial(
    breaker: Breaker, clock: Clock
) -> None:
    early = breaker.enter(AT)
    fail(breaker, FAILURES)
    clock.now += FIRST_REST
    assert breaker.enter(AT) is True
    breaker.end("cancelled", trial=early)
    assert state(breaker) == "open", "the trial is still out"
