"""Figures of vision-language models of the published shapes with random weights, beside llama.cpp on the same files."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed import language_model as speed
from benchmarks.speed import peer, workload
from benchmarks.speed.measurement import IdleCheck, Measure, alternate
from benchmarks.speed.table import Samples, TableRow, Target, row
from benchmarks.vlm import images, random_models
from benchmarks.workers import Worker
from models.core.files import file_digest

CONTEXT = 4096
PREFILL_RATIO = 2.5
DECODE_RATIO = {"Q8_0": 2.0, "Q4_0": 2.3, "Q4_K_M": 2.3}
MEMORY_SHARE = 0.8
"""Of what a plain read of memory would decode: what is asked where the memory does not allow DECODE_RATIO."""
LORA_RANK = 16
DEFAULT_LORA = {
    16: 0.92,
    64: 0.80,
}  # by rank: target for the default model's decode speed relative to no adapter


@dataclass(frozen=True)
class Run:
    """What all figures of a run share.

    files: the folder of the models, with a cache of packed weights and compiled code. logs: a folder for logs. default:
    the language model of the embedded default and its sha256. versions: receives those of the peer.
    """

    files: Path
    logs: Path
    threads: int
    rounds: int
    idle: IdleCheck
    default: tuple[Path, str]
    versions: dict[str, str]

    @property
    def cache(self) -> Path:
        """Compiled code and packed weights of the random models, apart from the user's."""
        return self.files / "cache"


def rows(run: Run, shape: str) -> Iterator[TableRow]:
    """All figures of a shape, a key of random_models.SHAPES, each as soon as it is measured."""
    random_models.write_missing(run.files, shape, random_models.default_vocabulary())
    for kind in random_models.LANGUAGE_TYPES[shape]:
        yield from _language_rows(run, shape, kind)
    yield from _image_rows(run, shape)


def default_rows(run: Run) -> Iterator[TableRow]:
    """What an adapter of rank 16 and one of rank 64 leave of the embedded default's decode speed."""
    weights, digest = run.default
    with speed.our_worker(weights, digest, run.cache, run.logs, run.threads, CONTEXT) as ours:
        measures = {"none": speed.our_decode(ours)}
        for rank in DEFAULT_LORA:
            ours.ask("adapt", name=f"r{rank}", rank=rank)
            measures[f"r{rank}"] = speed.our_decode(ours, f"r{rank}")
        taken = alternate(run.rounds, measures)
    for rank, least in DEFAULT_LORA.items():
        target, none = Target("at least", least, "ratio"), ("no adapter", taken["none"])
        yield row(f"vlm_default_decode_lora_r{rank}", "tokens/s", taken[f"r{rank}"], target, none)


def _language_rows(run: Run, shape: str, kind: str) -> Iterator[TableRow]:
    """Figures of a language model alone. kind: of its weights."""
    with ExitStack() as running:
        ours, read = _our_worker(run, shape, kind)
        running.enter_context(ours)
        file = random_models.language_file(run.files, shape, kind)
        theirs = _peer(run, running, peer.variants(kind, file))
        name = f"vlm_{shape}_{kind}"
        sides = speed.Sides(ours, theirs, theirs.fastest(2) if theirs else {}, run.rounds, run.idle)
        yield _prefill(sides, name)
        yield from _decode(sides, name, kind, read)
        yield from _lora(sides, name)


def _image_rows(run: Run, shape: str) -> Iterator[TableRow]:
    """Figures of images and of the whole engine, with the 8-bit language model where there is one."""
    kind = random_models.LANGUAGE_TYPES[shape][0]
    language = random_models.language_file(run.files, shape, kind)
    ours_mmproj = random_models.mmproj_file(run.files, shape, random_models.MMPROJ_TYPES[0])
    name = f"vlm_{shape}"
    with ExitStack() as running:
        worker = Worker([sys.executable, "-m", "benchmarks.vlm.engine_worker"], run.logs / f"{shape}.log")
        running.enter_context(worker)
        given = {"language_model": language, "mmproj": ours_mmproj}
        files = {role: [str(path), file_digest(path)] for role, path in given.items()}
        place = {"threads": run.threads, "length": CONTEXT}
        with tempfile.TemporaryDirectory(dir=run.files) as empty:
            loaded = worker.ask("load", **files, cache=empty, **place)
            ready = Samples((float(loaded["seconds"]),))
            target, note = Target("at most", 60.0), "from the files to ready: pack, compile and load all"
            yield row(f"{name}_ready", "s", ready, target, note=note)
            variants = []
            for mmproj_kind in random_models.MMPROJ_TYPES:
                mmproj = random_models.mmproj_file(run.files, shape, mmproj_kind)
                variants += peer.variants(f"{kind} {mmproj_kind}", language, mmproj)
            theirs = _peer(run, running, variants)
            best = images.fastest(theirs, run.logs) if theirs else None
            setting = images.Setting(
                worker, theirs, best, run.rounds, run.idle, run.logs, int(loaded["packed"])
            )
            yield from images.rows(setting, name)


def _peer(run: Run, running: ExitStack, variants: list[peer.Variant]) -> peer.Peer | None:
    """The peer with these variants, which ends with `running`; None when it is not installed."""
    theirs = peer.find(run.logs, run.threads, CONTEXT)
    if theirs is not None:
        running.enter_context(theirs.worker)
        theirs.variants = variants
        run.versions["llama-cpp-python"] = theirs.about["version"]
        run.versions["llama.cpp features"] = theirs.about["system"]
    return theirs


@dataclass(frozen=True)
class _TokenBytes:
    """What decoding reads for a token of the benchmark: bytes of weights, and of keys and values on average."""

    weights: float
    cache: float


def _our_worker(run: Run, shape: str, kind: str) -> tuple[Worker, _TokenBytes]:
    """A VlmWorker with a language model loaded, and what it reads for a token."""
    file = random_models.language_file(run.files, shape, kind)
    worker = Worker([sys.executable, "-m", "benchmarks.vlm.vlm_worker"], run.logs / f"{file.stem}.log")
    place = {"cache": str(run.cache), "threads": run.threads, "length": CONTEXT}
    reply = worker.ask("load", weights=str(file), digest=file_digest(file), **place)
    positions = workload.PROMPT_TOKENS + workload.NEW_TOKENS / 2
    return worker, _TokenBytes(float(reply["token_bytes"]), positions * float(reply["position_bytes"]))


def _prefill(sides: speed.Sides, name: str) -> TableRow:
    samples, beside = speed.compare(sides, "prefill", speed.our_prefill(sides.ours), speed.peer_prefill)
    note = f"tokens of a prompt of {workload.PROMPT_TOKENS}"
    return row(
        f"{name}_prefill", "tokens/s", samples, Target("at least", PREFILL_RATIO, "ratio"), beside, note
    )


def decode_limit(kind: str, bound: Samples, peer: Samples | None) -> float:
    """The ratio to the peer that decoding must reach: DECODE_RATIO, or less where the memory does not allow it.

    bound: tokens/s of a plain read. peer: its tokens/s in the same rounds.
    """
    if peer is None:
        return DECODE_RATIO[kind]
    return min(DECODE_RATIO[kind], round(MEMORY_SHARE * bound.median / peer.median, 2))


def _decode(sides: speed.Sides, name: str, kind: str, read: _TokenBytes) -> list[TableRow]:
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
    bound = Samples(tuple(each / (read.weights + read.cache) for each in taken["probe"].values))
    note = f"{read.weights / 1e6:.0f} MB of weights a token, {read.cache / 1e6:.0f} MB of keys and values"
    target = Target("at least", decode_limit(kind, bound, beside[1] if beside else None), "ratio")
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
