"""Figures of adapters: speed by rank, switching, loading, memory, and a thousand installed ones."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path

from adapters.store.manifest import MANIFEST_FILE, REQUIRED_FILES, AdapterManifest, write_manifest
from adapters.store.record import InstallRecord, write_record
from benchmarks.speed import app, workload
from benchmarks.speed import language_model as speed
from benchmarks.speed.language_model import Sides
from benchmarks.speed.measurement import alternate
from benchmarks.speed.table import Samples, TableRow, Target, row
from models.core.files import file_digest
from models.packing.llama_shape import LlamaShape

RANKS = (8, 16, 32, 64)
LEAST_DECODE = {16: 0.9, 64: 0.75}  # by rank: target for decode speed relative to no adapter
IN_MEMORY = 8  # adapters loaded to measure the memory of one
COUNTS = (1, 10, 100, 1000)  # of installed adapters


def rows(sides: Sides, folder: Path, shape: LlamaShape) -> list[TableRow]:
    """All figures except those of many installed adapters. folder: empty, for files of this run."""
    directory = folder / "adapters"
    for rank in RANKS:
        sides.ours.ask("adapt", name=f"r{rank}", rank=rank)
        workload.write_peft(workload.adapter(shape, f"r{rank}", rank, rank), directory / f"r{rank}")
    workload.write_peft(workload.adapter(shape, "other", 1, 16), directory / "other")
    made = [*_by_rank(sides), *_beside_peer(sides, folder, shape)]
    return [*made, *_loading(sides, folder, shape, directory), *_memory(sides, folder, directory)]


def _by_rank(sides: Sides) -> list[TableRow]:
    """Decode and prefill with an adapter of each rank beside no adapter."""
    made = []
    for figure, measure in (("decode", speed.our_decode), ("prefill", speed.our_prefill)):
        measures = {f"r{rank}": measure(sides.ours, f"r{rank}") for rank in RANKS}
        taken = alternate(sides.rounds, {"none": measure(sides.ours), **measures})
        for rank in RANKS:
            least = LEAST_DECODE.get(rank) if figure == "decode" else None
            target = Target("at least", least, "ratio") if least else None
            none = ("no adapter", taken["none"])
            made.append(row(f"{figure}_lora_r{rank}", "tokens/s", taken[f"r{rank}"], target, none))
    return made


def _beside_peer(sides: Sides, folder: Path, shape: LlamaShape) -> list[TableRow]:
    """Decode with the same adapters in llama.cpp."""
    made = []
    for rank in RANKS if sides.peer is not None else ():
        assert sides.peer is not None
        sides.peer.use(sides.best["decode"])
        sides.peer.adapt(workload.adapter(shape, f"r{rank}", rank, rank), folder)
        samples, peer = speed.compare(
            sides, "decode", speed.our_decode(sides.ours, f"r{rank}"), speed.peer_decode
        )
        made.append(row(f"decode_lora_r{rank}_beside_peer", "tokens/s", samples, None, peer))
        sides.peer.adapt(None, folder)
    return made


def _loading(sides: Sides, folder: Path, shape: LlamaShape, directory: Path) -> list[TableRow]:
    """Milliseconds of switching between loaded adapters, and of loading one with and without its packed file."""
    ours, step = sides.ours, {"token": 1000, "position": workload.PROMPT_TOKENS}
    places = {"directory": str(directory), "packed": str(folder / "packed-adapters")}

    def load(name: str, first: bool = False) -> float:
        return 1000 * float(ours.ask("load_adapter", name=name, first=first, **places, **step)["seconds"])

    def switch() -> float:
        reply = ours.ask("switch", names=["r16", "other"], count=40, **places, **step)
        return 1000 * float(reply["seconds"])

    for rank in RANKS:
        load(f"r{rank}", first=True)
    cold = {f"r{rank}": partial(load, f"r{rank}") for rank in RANKS}
    first = partial(load, "r16", first=True)
    taken = alternate(sides.rounds, {"switch": switch, "first": first, **cold})
    peer = None
    if sides.peer is not None:
        sides.peer.use(sides.best["decode"])
        adapter = workload.adapter(shape, "r16", 16, 16)
        times = [1000 * sides.peer.adapt(adapter, folder) for _ in range(sides.rounds)]
        peer = "llama.cpp (file read, no token)", Samples(tuple(times))
        sides.peer.adapt(None, folder)
    note = "acquiring another adapter that is in memory, and the extra time of its first step"
    made = [row("adapter_switch", "ms", taken["switch"], Target("at most", 1.0), note=note)]
    note = "from an installed rank-16 adapter, not in memory, to the first token; files in the system's cache"
    made.append(row("adapter_cold_load", "ms", taken["r16"], Target("at most", 30.0), peer, note))
    for rank in (8, 32, 64):
        made.append(row(f"adapter_cold_load_r{rank}", "ms", taken[f"r{rank}"]))
    note = "the same from the PEFT files, without the packed file in the cache"
    made.append(row("adapter_first_load", "ms", taken["first"], note=note))
    return made


def _memory(sides: Sides, folder: Path, directory: Path) -> list[TableRow]:
    """Memory of a loaded adapter of each rank. The copies are links, so that they share the page cache."""
    made = []
    for rank in RANKS:
        copies = folder / f"copies-r{rank}"
        for number in range(IN_MEMORY):
            shutil.copytree(directory / f"r{rank}", copies / f"c{number}", copy_function=os.link)
        places = {"directory": str(copies), "packed": str(folder / f"packed-r{rank}")}
        reply = sides.ours.ask("memory", names=[f"c{number}" for number in range(IN_MEMORY)], **places)
        note = f"growth of the process for each of {IN_MEMORY} in memory" if rank == RANKS[0] else ""
        made.append(row(f"adapter_memory_r{rank}", "MB", Samples((reply["bytes"] / 1e6,)), note=note))
    return made


def installed(rounds: int, folder: Path, shape: LlamaShape) -> list[TableRow]:
    """Starting, listing and routing a turn with 1, 10, 100 and 1000 adapters installed."""
    homes = {}
    for count in COUNTS:
        homes[count] = app.linked_home(folder / f"home-{count}")
        install_many(homes[count] / "data" / "adapters", count, shape)
    made = []
    log, lists = folder / "installed.log", [sys.executable, "-m", "edge_app", "adapters", "list"]

    def start(home: Path) -> float:
        return app.time_until_ready(log, home)

    def listing(home: Path) -> float:
        return app.time_of(lists, log, home)

    for figure, measure in (("start", start), ("list", listing)):
        measures = {str(count): partial(measure, home) for count, home in homes.items()}
        taken = alternate(rounds, measures)
        for count in COUNTS:
            target = Target("at most", 1.5)
            made.append(row(f"{figure}_installed_{count}", "s", taken[str(count)], target))
    with app.assistant(folder, homes[COUNTS[-1]]) as worker:
        worker.ask("prepare")

        def route() -> float:
            return float(worker.ask("route", adapter="adapter-0")["milliseconds"])

        taken = alternate(rounds, {"route": route})
    note = f"finding the adapter that a turn names among {COUNTS[-1]}"
    return [*made, row(f"route_installed_{COUNTS[-1]}", "ms", taken["route"], note=note)]


def install_many(directory: Path, count: int, shape: LlamaShape) -> None:
    """Write `count` adapters as the installer does. Their weights are links to one file."""
    first = directory / "adapter-0"
    workload.write_peft(workload.adapter(shape, "adapter-0", 0), first)
    files = {name: file_digest(first / name) for name in REQUIRED_FILES}
    for number in range(count):
        name = f"adapter-{number}"
        folder = directory / name
        if number:
            folder.mkdir()
            for file in files:
                os.link(first / file, folder / file)
        manifest = AdapterManifest(
            name, "1.0", f"Random numbers, number {number}.", "edge-vlm-135m", "", files=files
        )
        (folder / MANIFEST_FILE).write_bytes(write_manifest(manifest))
        write_record(folder, InstallRecord(source="", date="2000-01-01T00:00:00+00:00", base_digest=""))
