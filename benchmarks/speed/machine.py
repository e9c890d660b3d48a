"""Facts about the machine and the software that a figure depends on, and a process's memory and time."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from models.compiler import threads
from models.compiler.cpu import choose_path, detect

PACKAGES = ("edge-app", "apache-tvm", "apache-tvm-ffi", "numpy")


def facts(cache: Path) -> dict[str, object]:
    """The machine, as JSON-ready values."""
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
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def busy(process: psutil.Process) -> float:
    """CPU seconds that a process has used, its threads included."""
    times = process.cpu_times()
    return float(times.user + times.system)


def peak_memory(process: psutil.Process) -> int:
    """The most bytes a process has had in memory; mapped files that it touched count."""
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    information = process.memory_info()
    return int(getattr(information, "peak_wset", information.rss))  # Windows keeps the peak; macOS shows now
