"""The measurement of pages a minute keeps what it has measured, and goes on after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.extraction.pages_a_minute import MeasuredRun

FILES = [f"page{number}.png" for number in range(7)]


class Way:
    """Takes a second a page. stops_at: the call that is interrupted, counted from 0."""

    def __init__(self, stops_at: int = -1) -> None:
        self.asked: list[str] = []
        self._left = stops_at

    def __call__(self, files: Sequence[str]) -> float:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self.asked += files
        return float(len(files))


def test_a_run_that_was_stopped_goes_on_after_the_last_whole_turn(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"
    first = MeasuredRun(file)
    with pytest.raises(KeyboardInterrupt):
        first.measure({"extract": Way(), "loop": Way(stops_at=1)}, FILES, 3, math.inf)
    again, extract, loop = MeasuredRun(file), Way(), Way()
    assert again.figures == first.figures == [{"pages": 3, "extract": 3.0, "loop": 3.0}]
    again.measure({"extract": extract, "loop": loop}, FILES, 3, math.inf)
    assert extract.asked == loop.asked == FILES[3:]
    assert [line["pages"] for line in MeasuredRun(file).figures] == [3, 3, 1]


def test_no_turn_begins_after_the_time_is_over() -> None:
    run, way = MeasuredRun(None), Way()
    run.measure({"extract": way}, FILES, 3, -math.inf)
    assert (run.figures, way.asked) == ([], [])
