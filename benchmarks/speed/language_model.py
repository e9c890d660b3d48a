"""Figures of the language model beside llama.cpp: prefill, decode, threads, and decode on a busy machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import workload
from benchmarks.speed.measurement import IdleCheck, Measure, alternate
from benchmarks.speed.peer import Peer, Variant
from benchmarks.speed.table import Samples, TableRow, Target, row
from benchmarks.workers import Worker

_BUSY = "while True: pass"


@dataclass(frozen=True)
class Sides:
    """The running processes of a comparison.

    ours: a RuntimeWorker. peer: None when llama.cpp is not installed. best: the peer's fastest variant by figure.
    """

    ours: Worker
    peer: Peer | None
    best: dict[str, Variant]
    rounds: int
    idle: IdleCheck


def our_worker(weights: Path, digest: str, cache: Path, folder: Path, threads: int, length: int) -> Worker:
    """A RuntimeWorker process with a language model loaded.

    weights: a GGUF file. digest: its sha256. cache: of packed weights and compiled code. length: of the context.
    """
    worker = Worker(
        [sys.executable, "-m", "benchmarks.speed.runtime_worker"], folder / f"runtime-{threads}.log"
    )
    worker.ask("load", weights=str(weights), digest=digest, cache=str(cache), threads=threads, length=length)
    return worker


def rate(count: int, ask: Callable[[], dict[str, Any]]) -> Measure:
    """Tokens per second of a request for `count` tokens that replies its seconds."""
    return lambda: count / float(ask()["seconds"])


def our_prefill(worker: Worker, adapter: str | None = None) -> Measure:
    """Tokens per second of a prompt of PROMPT_TOKENS in a RuntimeWorker."""
    prompt = workload.tokens()[: workload.PROMPT_TOKENS]
    return rate(len(prompt), lambda: worker.ask("prefill", tokens=prompt, adapter=adapter))


def our_decode(worker: Worker, adapter: str | None = None) -> Measure:
    """Tokens per second of NEW_TOKENS after the prompt in a RuntimeWorker."""
    tokens = workload.tokens()
    prompt, new = tokens[: workload.PROMPT_TOKENS], tokens[workload.PROMPT_TOKENS :]

    def ask() -> dict[str, Any]:
        worker.ask("prefill", tokens=prompt, adapter=adapter)
        return worker.ask("decode", tokens=new, position=len(prompt), adapter=adapter)

    return rate(len(new), ask)


def peer_prefill(peer: Peer) -> Measure:
    """The same as our_prefill in the peer."""
    prompt = workload.tokens()[: workload.PROMPT_TOKENS]
    return rate(len(prompt), lambda: peer.worker.ask("prefill", tokens=prompt))


def peer_decode(peer: Peer) -> Measure:
    """The same as our_decode in the peer."""
    tokens = workload.tokens()
    prompt, new = tokens[: workload.PROMPT_TOKENS], tokens[workload.PROMPT_TOKENS :]

    def ask() -> dict[str, Any]:
        peer.worker.ask("prefill", tokens=prompt)
        return peer.worker.ask("decode", tokens=new)

    return rate(len(new), ask)


def compare(
    sides: Sides, figure: str, ours: Measure, theirs: Callable[[Peer], Measure]
) -> tuple[Samples, tuple[str, Samples] | None]:
    """Our samples of a figure, with the name and the samples of the peer's best variant in the same rounds."""
    if sides.peer is None:
        return alternate(sides.rounds, {"ours": ours})["ours"], None
    variant = sides.best[figure]
    sides.peer.use(variant)
    here, there = sides.ours.process, sides.peer.worker.process
    measures = {
        "ours": sides.idle.watch(ours, [there]),
        "theirs": sides.idle.watch(theirs(sides.peer), [here]),
    }
    taken = alternate(sides.rounds, measures)
    return taken["ours"], (variant.name, taken["theirs"])


def rows(sides: Sides) -> list[TableRow]:
    """The figures without adapters."""
    unit = "tokens/s"
    samples, peer = compare(sides, "decode", our_decode(sides.ours), peer_decode)
    made = [row("decode", unit, samples, Target("at least", 2.0, "ratio"), peer)]
    samples, peer = compare(sides, "prefill", our_prefill(sides.ours), peer_prefill)
    made.append(row("prefill", unit, samples, Target("at least", 2.2, "ratio"), peer))
    made.append(_contended(sides))
    return made


def _contended(sides: Sides) -> TableRow:
    """Decode while another program keeps one processor busy."""
    competitor = subprocess.Popen([sys.executable, "-c", _BUSY])
    try:
        samples, peer = compare(sides, "decode", our_decode(sides.ours), peer_decode)
    finally:
        competitor.kill()
        competitor.wait()
    note = "decode while another process keeps one processor busy"
    return row("decode_contended", "tokens/s", samples, None, peer, note)


def thread_rows(one: Worker, several: Worker, rounds: int, threads: int) -> list[TableRow]:
    """Decode and prefill with `threads` threads beside one thread."""
    made = []
    for figure, measure in (("decode", our_decode), ("prefill", our_prefill)):
        taken = alternate(rounds, {"one": measure(one), "all": measure(several)})
        name = f"threads_{figure}"
        made.append(
            row(name, "tokens/s", taken["all"], None, ("1 thread", taken["one"]), f"{threads} threads")
        )
    return made
