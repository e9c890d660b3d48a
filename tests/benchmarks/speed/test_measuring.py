"""Taking turns, watching the idle side, and talking to worker processes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.speed import alternate as alternating
from benchmarks.speed.alternate import Bystanders, alternate
from benchmarks.speed.machine import busy, facts, peak_memory, versions
from benchmarks.speed.processes import Worker, WorkerError

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "die":
        sys.exit("no such thing")
    if request["do"] == "spin":
        import threading
        threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
    print(json.dumps(request), flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker([sys.executable, "-c", ECHO], tmp_path / "worker.log")


def test_measures_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternating, "REST", 0.0)
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


def test_a_worker_that_dies_is_reported_with_its_last_words(worker: Worker) -> None:
    with worker, pytest.raises(WorkerError, match=r"ended with 1 at 'die': no such thing"):
        worker.ask("die")


def test_a_bystander_that_computes_is_noticed(worker: Worker) -> None:
    def rest() -> float:
        time.sleep(0.5)
        return 0.0

    with worker:
        worker.ask("hello")
        quiet, loud = Bystanders(), Bystanders()
        quiet.watch(rest, [worker.process])()
        worker.ask("spin")
        loud.watch(rest, [worker.process])()
    assert quiet.worst < 0.05 < loud.worst


def test_a_process_knows_its_memory_and_time() -> None:
    here = psutil.Process()
    assert peak_memory(here) >= here.memory_info().rss // 2
    before = busy(here)
    sum(range(3_000_000))
    assert busy(here) > before


def test_the_machine_is_described(tmp_path: Path) -> None:
    described = facts(tmp_path)
    assert described["kernels"] and described["cpus"]
    assert versions()["apache-tvm"]
