"""Takes measurements in alternation, and reads the facts about processes and the machine that figures depend on.

The measures of a comparison take turns, round after round, so that a change of the machine's speed affects all of
them alike.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks.speed.table import Samples
from models.compiler import threads
from models.compiler.cpu import choose_path, detect

PACKAGES = ("edge-app", "apache-tvm", "apache-tvm-ffi", "numpy")
REST = 0.1  # seconds before each measure; longer than thread pools spin after their work
Measure = Callable[[], float]


def alternate(rounds: int, measures: Mapping[str, Measure], warm_up: int = 1) -> dict[str, Samples]:
    """Take each measure once a round. Returns `rounds` samples of each.

    The order is reversed every second round, so that no measure always follows the same other one. warm_up: rounds
    before them that are not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in measures}
    order = list(measures)
    for number in range(1 - warm_up, rounds + 1):
        for name in order if number % 2 else reversed(order):
            time.sleep(REST)
            value = measures[name]()
            if number > 0:
                taken[name].append(value)
    return {name: Samples(tuple(values)) for name, values in taken.items()}


class IdleCheck:
    """Records how busy the waiting processes were. worst: the largest share of one processor, 0..1 and above."""

    def __init__(self) -> None:
        self.worst = 0.0

    def watch(self, measure: Measure, others: list[psutil.Process]) -> Measure:
        """The measure, wrapped to record the processor time that the other processes use during it."""

        def watched() -> float:
            before, started = [busy(other) for other in others], time.perf_counter()
            value = measure()
            seconds = time.perf_counter() - started
            for other, used in zip(others, before, strict=True):
                self.worst = max(self.worst, (busy(other) - used) / seconds)
            return value

        return watched


def busy(process: psutil.Process) -> float:
    """Processor seconds that a process has used, user and system, of all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_memory(process: psutil.Process) -> int:
    """Peak resident memory of a process in bytes, including the touched pages of mapped files.

    On macOS, which does not report the peak, it is the present resident memory.
    """
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    information = process.memory_info()
    return int(getattr(information, "peak_wset", information.rss))  # peak_wset: Windows


def facts(cache: Path) -> dict[str, object]:
    """The machine as JSON-ready values. cache: the app's cache directory, where the processor's name is kept."""
    cpu = detect(cache)
    return {
        "processor": cpu.name,
        "architecture": cpu.architecture,
        "kernels": choose_path(cpu),
        "cpus": threads.available_cpus(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
