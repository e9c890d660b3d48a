"""Figures of the whole app: start, first token about a photo, memory, idle load, first start with empty caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.speed import workload
from benchmarks.speed.measurement import alternate, busy, peak_memory
from benchmarks.speed.table import Samples, TableRow, Target, row
from benchmarks.workers import Worker, WorkerError
from edge_app.system import paths

QUESTION = "What is in this picture?"
IDLE_SECONDS = 5.0
PHOTO = (1600, 1200)  # width, height in pixels
LARGE_PHOTO = (4000, 3000)


def first_use(folder: Path) -> None:
    """Pack and compile what the user's cache lacks, so that no figure includes it."""
    with assistant(folder) as worker:
        worker.ask("prepare")
        _ask_about(worker, folder, 0, PHOTO, max_tokens=1)


def warm_starts(rounds: int, folder: Path) -> list[TableRow]:
    """Seconds from process start to ready for a question, and of a whole `edge-app ask` of one token."""
    log, home = folder / "start.log", linked_home(folder / "home")

    def ready() -> float:
        return time_until_ready(log)

    def ask() -> float:
        command = [sys.executable, "-m", "edge_app", "ask", "Hi", "--max-tokens", "1", "--adapter", "none"]
        return time_of(command, log, home)

    taken = alternate(rounds, {"ready": ready, "ask": ask})
    note = "process start to ready for the first token; model pulled, packed and compiled"
    return [
        row("warm_start", "s", taken["ready"], Target("at most", 1.5), note=note),
        row(
            "ask_one_token",
            "s",
            taken["ask"],
            note="the whole process `edge-app ask Hi --max-tokens 1`",
        ),
    ]


def answers(rounds: int, folder: Path) -> list[TableRow]:
    """One warm process answers about photos that it has not seen, then is idle."""
    with assistant(folder) as worker:
        worker.ask("prepare")
        _ask_about(worker, folder, 0, PHOTO)  # loads the vision encoder
        seeds = iter(range(1, 1000))
        taken = alternate(
            rounds,
            {
                "photo": lambda: _ask_about(worker, folder, next(seeds), PHOTO),
                "large": lambda: _ask_about(worker, folder, next(seeds), LARGE_PHOTO),
            },
        )
        idle = Samples(tuple(_idle_load(worker) for _ in range(min(rounds, 3))))
    size = "{} x {} JPEG that was not seen before, 24-token answer".format(*PHOTO)
    large = "{} x {} JPEG".format(*LARGE_PHOTO)
    return [
        row("first_token_photo", "s", taken["photo"], Target("at most", 0.5), note=size),
        row("first_token_large_photo", "s", taken["large"], note=large),
        row(
            "idle_cpu",
            "s",
            idle,
            note=f"processor seconds used in {IDLE_SECONDS:g} s after an answer",
        ),
    ]


def memory(rounds: int, folder: Path) -> TableRow:
    """Peak memory of a process that loads and answers about a photo, less the packed weights on disk."""
    packed = sum(file.stat().st_size for file in (paths.cache_directory() / "packed").glob("*.pack"))

    def over() -> float:
        with assistant(folder) as worker:
            _ask_about(worker, folder, 0, PHOTO, max_tokens=64)
            return (peak_memory(worker.process) - packed) / 1e6

    taken = alternate(min(rounds, 3), {"over": over})["over"]
    note = f"peak resident memory of load, photo and 64 tokens, less {packed / 1e6:.0f} MB of packed weights"
    return row("memory_over_weights", "MB", taken, Target("at most", 350.0), note=note)


def first_starts(rounds: int, folder: Path) -> list[TableRow]:
    """Seconds of packing and of compiling with empty caches."""
    packs, compiles = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            command = [sys.executable, "-m", "benchmarks.speed.assistant_worker", "first", empty]
            seconds = json.loads(_run(command, folder / "first.log"))
        packs.append(float(seconds["pack"]))
        compiles.append(float(seconds["compile"]))
    note = "language model, vision tower and projector compiled into an empty cache"
    return [
        row("first_compile", "s", Samples(tuple(compiles)), Target("at most", 60.0), note=note),
        row("first_pack", "s", Samples(tuple(packs)), note="the weights packed into an empty cache"),
    ]


def assistant(folder: Path, home: Path | None = None) -> Worker:
    """The assistant in a process of its own. home: None for the user's."""
    command = [sys.executable, "-m", "benchmarks.speed.assistant_worker"]
    return Worker(command, folder / "assistant.log", at(home) if home else None)


def _ask_about(worker: Worker, folder: Path, seed: int, size: tuple[int, int], max_tokens: int = 24) -> float:
    """Seconds from a turn with a photo to its first token. seed: of the photo; a new one is a new photo."""
    file = folder / f"photo-{size[0]}-{seed}.jpg"
    if not file.exists():
        file.write_bytes(workload.photo(seed, *size))
    reply = worker.ask("photo", path=str(file), question=QUESTION, max_tokens=max_tokens)
    if reply["first"] is None:
        raise WorkerError(f"no token came for {file}")
    return float(reply["first"])


def _idle_load(worker: Worker) -> float:
    before = busy(worker.process)
    time.sleep(IDLE_SECONDS)
    return busy(worker.process) - before


def time_until_ready(log: Path, home: Path | None = None) -> float:
    """Seconds from process start until the assistant accepts a question. Returns after the process has ended."""
    command = [sys.executable, "-m", "benchmarks.speed.assistant_worker", "ready"]
    with log.open("wb") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=at(home) if home else None
        )
        assert process.stdout is not None
        seconds = None
        for line in process.stdout:
            if line.strip() == "ready" and seconds is None:
                seconds = time.perf_counter() - started
        process.wait()
        process.stdout.close()
    if seconds is None:
        raise WorkerError(f"{' '.join(command)} was never ready; see {log}")
    return seconds


def time_of(command: list[str], log: Path, home: Path) -> float:
    """Seconds from the start to the end of a process."""
    started = time.perf_counter()
    _run(command, log, at(home))
    return time.perf_counter() - started


def at(home: Path) -> dict[str, str]:
    """This process's environment with EDGE_APP_HOME set to `home`."""
    return {**os.environ, "EDGE_APP_HOME": str(home)}


def linked_home(home: Path) -> Path:
    """A home that links to the user's models and caches. It has its own sessions, so the user's stay unchanged."""
    if not home.exists():
        (home / "data").mkdir(parents=True)
        (home / "data" / "models").symlink_to(paths.models_directory(), target_is_directory=True)
        (home / "cache").symlink_to(paths.cache_directory(), target_is_directory=True)
    return home


def _run(command: list[str], log: Path, environment: dict[str, str] | None = None) -> str:
    """Run a process and return its stdout. Raises WorkerError when it fails."""
    with log.open("wb") as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False, env=environment
        )
    if done.returncode:
        raise WorkerError(f"{' '.join(command)} ended with {done.returncode}; see {log}")
    return done.stdout
