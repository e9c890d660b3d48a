"""How many threads decode when other programs want the processors."""

from __future__ import annotations

import random

from models.language.thread_governor import ThreadGovernor


def run(governor: ThreadGovernor, tokens: int, durations: dict[int, float], noise: float = 0.1) -> list[int]:
    """Decode with a machine on which n threads take durations[n]; the counts that were used."""
    rng, used = random.Random(1), []
    for _ in range(tokens):
        used.append(governor.count)
        governor.record(durations[governor.count] * (1 + noise * rng.random()))
    return used


IDLE = {2: 1.0, 1: 1.6}
BUSY = {2: 3.0, 1: 1.7}


def test_an_idle_machine_always_uses_all_threads() -> None:
    assert set(run(ThreadGovernor(2), 1000, IDLE)) == {2}


def test_a_busy_machine_gets_one_thread_less_within_a_few_tokens() -> None:
    governor = ThreadGovernor(2)
    run(governor, 50, IDLE)
    used = run(governor, 200, BUSY)
    assert set(used[10:70]) == {1}
    assert used.count(1) > 0.8 * len(used)


def test_all_threads_return_when_the_other_program_ends() -> None:
    governor = ThreadGovernor(2)
    run(governor, 50, IDLE)
    run(governor, 100, BUSY)
    used = run(governor, 300, IDLE)
    assert set(used[100:]) == {2}


def test_being_slower_for_another_reason_costs_little() -> None:
    """A slower machine, or a longer context: fewer threads are tried now and then, and do not stay."""
    governor = ThreadGovernor(4)
    run(governor, 50, {4: 1.0, 3: 1.3})
    used = run(governor, 1000, {4: 2.0, 3: 2.6})
    assert used.count(3) < 0.15 * len(used)


def test_single_slow_tokens_change_nothing() -> None:
    governor = ThreadGovernor(2)
    for number in range(500):
        governor.record(10.0 if number % 5 == 0 else 1.0)
        assert governor.count == 2


def test_one_thread_stays_one() -> None:
    assert set(run(ThreadGovernor(1), 300, {1: 1.0}, noise=5.0)) == {1}
