"""Alternating measures, checking the idle side, and requests to worker processes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks.speed import measurement
from benchmarks.speed.measurement import IdleCheck, alternate, busy, facts, peak_memory, versions
from benchmarks.workers import Worker, WorkerError

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "die":
        sys.exit("no such thing")
    print(json.dumps(request), flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker([sys.executable, "-c", ECHO], tmp_path / "worker.log")


def test_measures_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "REST", 0.0)
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    taken = alternate(2, {"a": lambda: measure("a"), "b": lambda: measure("b")})
    assert calls == ["b", "a", "a", "b", "b", "a"]
    assert taken["a"].values == (3.0, 6.0) and taken["b"].values == (4.0, 5.0)


def test_a_worker_answers_request_by_request(worker: Worker) -> None:
    with worker:
        assert worker.ask("prefill", tokens=[1, 2]) == {"do": "prefill", "tokens": [1, 2]}
        assert worker.ask("decode") == {"do": "decode"}
    assert not psutil.pid_exists(worker.process.pid)


def test_a_worker_that_dies_is_reported_with_the_last_line_of_its_stderr(worker: Worker) -> None:
    with worker, pytest.raises(WorkerError, match=r"ended with 1 at 'die': no such thing"):
        worker.ask("die")


def test_a_waiting_process_that_computes_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, used = iter([100.0, 104.0]), {"idle": iter([5.0, 5.0]), "loud": iter([7.0, 8.0])}
    clocks = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr(measurement, "time", clocks)
    monkeypatch.setattr(measurement, "busy", lambda process: next(used[process]))
    check = IdleCheck()
    watched = check.watch(lambda: 3.0, ["idle", "loud"])  # type: ignore[list-item]
    assert watched() == 3.0
    assert check.worst == 0.25


def test_memory_and_time_of_a_process_are_read() -> None:
    here = psutil.Process()
    assert peak_memory(here) >= here.memory_info().rss // 2
    assert busy(here) > 0


def test_the_machine_is_described(tmp_path: Path) -> None:
    described = facts(tmp_path)
    assert described["kernels"] and described["cpus"]
    assert versions()["apache-tvm"]
