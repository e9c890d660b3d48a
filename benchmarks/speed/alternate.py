"""Measuring several things in turn, round after round: what the machine does hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import psutil

from benchmarks.speed.machine import busy
from benchmarks.speed.table import Samples

REST = 0.1  # seconds between two turns: thread pools that spin after their work have gone to sleep by then
Measure = Callable[[], float]


def alternate(rounds: int, measures: Mapping[str, Measure]) -> dict[str, Samples]:
    """Take each measure once a round, in order, after one round that does not count.

    The order turns round every second time, so that none is always the one after a particular other.
    """
    taken: dict[str, list[float]] = {name: [] for name in measures}
    order = list(measures)
    for number in range(rounds + 1):
        for name in order if number % 2 else reversed(order):
            time.sleep(REST)
            value = measures[name]()
            if number:
                taken[name].append(value)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


class Bystanders:
    """Watches that those whose turn it is not stay idle."""

    def __init__(self) -> None:
        self.worst = 0.0

    def watch(self, measure: Measure, others: list[psutil.Process]) -> Measure:
        """The measure, noting the largest share of a processor that one of the others took meanwhile."""

        def watched() -> float:
            before, started = [busy(other) for other in others], time.perf_counter()
            value = measure()
            seconds = time.perf_counter() - started
            for other, used in zip(others, before, strict=True):
                self.worst = max(self.worst, (busy(other) - used) / seconds)
            return value

        return watched
