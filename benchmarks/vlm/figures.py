"""Figures of vision-language models of the published shapes with random weights, beside llama.cpp on the same files."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import language_model as speed
from benchmarks.speed import peer, workload
from benchmarks.speed.measurement import IdleCheck, Measure, alternate, peak_memory
from benchmarks.speed.table import Samples, TableRow, Target, row
from benchmarks.speed.workers import Worker
from benchmarks.vlm import random_models
from models.core.files import file_digest

CONTEXT = 4096
PREFILL_RATIO = 2.5
DECODE_RATIO = {"Q8_0": 2.0, "Q4_0": 2.3, "Q4_K_M": 2.3}
LORA_RANK = 16


@dataclass(frozen=True)
class Run:
    """What all figures of a run share.

    files: the folder of the models, with a cache of packed weights and compiled code. logs: a folder for logs.
    """

    files: Path
    logs: Path
    threads: int
    rounds: int
    idle: IdleCheck

    @property
    def cache(self) -> Path:
        """Compiled code and packed weights of the random models, apart from the user's."""
        return self.files / "cache"


def rows(run: Run, shape: str) -> list[TableRow]:
    """All figures of a shape, a key of random_models.SHAPES."""
    random_models.write_missing(run.files, shape, random_models.default_vocabulary())
    made = []
    for kind in random_models.LANGUAGE_TYPES[shape]:
        with ExitStack() as running:
            ours, token_bytes = _our_worker(run, shape, kind)
            running.enter_context(ours)
            theirs = peer.find(run.logs, run.threads, CONTEXT)
            if theirs is not None:
                running.enter_context(theirs.worker)
                theirs.variants = peer.variants(kind, random_models.language_file(run.files, shape, kind))
            name = f"vlm_{shape}_{kind}"
            sides = speed.Sides(ours, theirs, theirs.fastest(2) if theirs else {}, run.rounds, run.idle)
            made.append(_memory(ours, name, token_bytes))  # first, since the probe takes memory of its own
            made += [_prefill(sides, name), *_decode(sides, name, kind, token_bytes), *_lora(sides, name)]
    return made


def _our_worker(run: Run, shape: str, kind: str) -> tuple[Worker, float]:
    """A VlmWorker with a language model loaded, and the bytes of weights that it reads for a token."""
    file = random_models.language_file(run.files, shape, kind)
    worker = Worker([sys.executable, "-m", "benchmarks.vlm.vlm_worker"], run.logs / f"{file.stem}.log")
    place = {"cache": str(run.cache), "threads": run.threads, "length": CONTEXT}
    reply = worker.ask("load", weights=str(file), digest=file_digest(file), **place)
    return worker, float(reply["token_bytes"])


def _prefill(sides: speed.Sides, name: str) -> TableRow:
    samples, beside = speed.compare(sides, "prefill", speed.our_prefill(sides.ours), speed.peer_prefill)
    note = f"tokens of a prompt of {workload.PROMPT_TOKENS}"
    return row(
        f"{name}_prefill", "tokens/s", samples, Target("at least", PREFILL_RATIO, "ratio"), beside, note
    )


def _decode(sides: speed.Sides, name: str, kind: str, token_bytes: float) -> list[TableRow]:
    """Decode beside the peer, and its share of the memory's speed in the same rounds."""
    measures: dict[str, Measure] = {"ours": speed.our_decode(sides.ours)}
    measures["probe"] = lambda: float(sides.ours.ask("bandwidth")["bytes_per_second"])
    variant = None
    if sides.peer is not None:
        variant = sides.best["decode"]
        sides.peer.use(variant)
        there = sides.peer.worker.process
        measures["theirs"] = sides.idle.watch(speed.peer_decode(sides.peer), [sides.ours.process])
        measures["ours"] = sides.idle.watch(measures["ours"], [there])
    taken = alternate(sides.rounds, measures)
    beside = (variant.name, taken["theirs"]) if variant else None
    bound = Samples(tuple(each / token_bytes for each in taken["probe"].values))
    note = f"{token_bytes / 1e6:.0f} MB of weights a token"
    target = Target("at least", DECODE_RATIO[kind], "ratio")
    return [
        row(f"{name}_decode", "tokens/s", taken["ours"], target, beside, note),
        row(f"{name}_decode_of_memory_bound", "tokens/s", taken["ours"], None, ("plain read", bound)),
    ]


def _lora(sides: speed.Sides, name: str) -> list[TableRow]:
    """Decode and prefill with an adapter on all linear layers beside none."""
    sides.ours.ask("adapt", name="adapter", rank=LORA_RANK)
    made = []
    for figure, measure in (("decode", speed.our_decode), ("prefill", speed.our_prefill)):
        with_and_without = {"with": measure(sides.ours, "adapter"), "without": measure(sides.ours)}
        taken = alternate(sides.rounds, with_and_without)
        target = Target("at least", 0.92, "ratio") if figure == "decode" else None
        none = ("no adapter", taken["without"])
        made.append(row(f"{name}_{figure}_lora_r{LORA_RANK}", "tokens/s", taken["with"], target, none))
    return made


def _memory(ours: Worker, name: str, token_bytes: float) -> TableRow:
    """Memory of the process with a full context, less the weights that a token reads, which are mapped."""
    ours.ask("prefill", tokens=workload.tokens(CONTEXT))
    samples = Samples(((peak_memory(ours.process) - token_bytes) / 1e6,))
    note = f"peak resident memory with {CONTEXT} positions filled, less the mapped weights"
    return row(f"{name}_memory_over_weights", "MB", samples, Target("at most", 400.0), note=note)
