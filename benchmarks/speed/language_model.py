"""The language model's speed: prefill, decode, threads, a busy machine; beside llama.cpp's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import workload
from benchmarks.speed.alternate import Bystanders, Measure, alternate
from benchmarks.speed.peer import Peer, Variant
from benchmarks.speed.processes import Worker
from benchmarks.speed.table import Row, Samples, Target, row
from models.hub.store import ModelFiles

_BUSY = "while True: pass"


@dataclass(frozen=True)
class Sides:
    """Both sides of a comparison, running. ours: a runtime_worker; best: the peer's fastest variants."""

    ours: Worker
    peer: Peer | None
    best: dict[str, Variant]
    rounds: int
    bystanders: Bystanders


def our_worker(files: ModelFiles, cache: Path, folder: Path, threads: int, length: int) -> Worker:
    """A runtime_worker with the model's language model loaded."""
    worker = Worker(
        [sys.executable, "-m", "benchmarks.speed.runtime_worker"], folder / f"runtime-{threads}.log"
    )
    weights, digest = str(files.files["language_model"]), files.digests["language_model"]
    worker.ask("load", weights=weights, digest=digest, cache=str(cache), threads=threads, length=length)
    return worker


def rate(count: int, ask: Callable[[], dict[str, Any]]) -> Measure:
    """Tokens a second of a request that replies seconds."""
    return lambda: count / float(ask()["seconds"])


def our_prefill(worker: Worker, adapter: str | None = None) -> Measure:
    prompt = workload.tokens()[: workload.PROMPT_TOKENS]
    return rate(len(prompt), lambda: worker.ask("prefill", tokens=prompt, adapter=adapter))


def our_decode(worker: Worker, adapter: str | None = None) -> Measure:
    tokens = workload.tokens()
    prompt, new = tokens[: workload.PROMPT_TOKENS], tokens[workload.PROMPT_TOKENS :]

    def ask() -> dict[str, Any]:
        worker.ask("prefill", tokens=prompt, adapter=adapter)
        return worker.ask("decode", tokens=new, position=len(prompt), adapter=adapter)

    return rate(len(new), ask)


def peer_prefill(peer: Peer) -> Measure:
    prompt = workload.tokens()[: workload.PROMPT_TOKENS]
    return rate(len(prompt), lambda: peer.worker.ask("prefill", tokens=prompt))


def peer_decode(peer: Peer) -> Measure:
    tokens = workload.tokens()
    prompt, new = tokens[: workload.PROMPT_TOKENS], tokens[workload.PROMPT_TOKENS :]

    def ask() -> dict[str, Any]:
        peer.worker.ask("prefill", tokens=prompt)
        return peer.worker.ask("decode", tokens=new)

    return rate(len(new), ask)


def compare(
    sides: Sides, figure: str, ours: Measure, theirs: Callable[[Peer], Measure]
) -> tuple[Samples, tuple[str, Samples] | None]:
    """Our samples of a figure, and the peer's of the same rounds."""
    if sides.peer is None:
        return alternate(sides.rounds, {"ours": ours})["ours"], None
    variant = sides.best[figure]
    sides.peer.use(variant)
    here, there = sides.ours.process, sides.peer.worker.process
    measures = {
        "ours": sides.bystanders.watch(ours, [there]),
        "theirs": sides.bystanders.watch(theirs(sides.peer), [here]),
    }
    taken = alternate(sides.rounds, measures)
    return taken["ours"], (variant.name, taken["theirs"])


def rows(sides: Sides) -> list[Row]:
    """Every row that both workers give without adapters."""
    unit = "tokens/s"
    samples, peer = compare(sides, "decode", our_decode(sides.ours), peer_decode)
    made = [row("decode", unit, samples, Target("at least", 2.0, "ratio"), peer)]
    samples, peer = compare(sides, "prefill", our_prefill(sides.ours), peer_prefill)
    made.append(row("prefill", unit, samples, Target("at least", 2.2, "ratio"), peer))
    made.append(_contended(sides))
    return made


def _contended(sides: Sides) -> Row:
    """Decoding while another program keeps one processor busy."""
    competitor = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        samples, peer = compare(sides, "decode", our_decode(sides.ours), peer_decode)
    finally:
        competitor.kill()
        competitor.wait()
    note = "decode while another process keeps one processor busy"
    return row("decode_contended", "tokens/s", samples, None, peer, note)


def thread_rows(one: Worker, two: Worker, rounds: int, threads: int) -> list[Row]:
    """What the second thread (and any further) brings: proof that it is used."""
    made = []
    for figure, measure in (("decode", our_decode), ("prefill", our_prefill)):
        taken = alternate(rounds, {"one": measure(one), "all": measure(two)})
        name = f"threads_{figure}"
        made.append(
            row(name, "tokens/s", taken["all"], None, ("1 thread", taken["one"]), f"{threads} threads")
        )
    return made
