"""Figures of images in a vision-language model: a tile, the first token about a photo, a second question, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.speed import workload
from benchmarks.speed.measurement import IdleCheck, Measure, alternate, peak_memory
from benchmarks.speed.peer import Peer, Variant
from benchmarks.speed.table import Samples, TableRow, Target, row
from benchmarks.workers import Worker

PHOTO = (1600, 1200)  # width, height in pixels: 13 tiles
QUESTION = "What is in this picture?"
LEAST_TILE, LEAST_PHOTO = 3.5, 3.0  # times as fast as the peer
LORA_RANK = 16
MOST_ADAPTED_TILE = 1.12  # times as long as without an adapter
FULL = 13
FULL_ROUNDS = 1  # and none to warm up: the peer takes up to a minute for a photo of all tiles


@dataclass(frozen=True)
class Setting:
    """The running processes.

    ours: an EngineWorker. theirs: None without llama.cpp. best: its variant with the fastest tile; the same one answers
    about photos. folder: for photos. packed: bytes of our packed weights. warm_up: rounds that are not counted.
    """

    ours: Worker
    theirs: Peer | None
    best: Variant | None
    rounds: int
    idle: IdleCheck
    folder: Path
    packed: int
    warm_up: int = 1


def rows(setting: Setting, name: str) -> Iterator[TableRow]:
    """All figures of one model, each as soon as it is measured. name: the start of their names."""
    photos = _photos(setting.folder)
    yield _tile(setting, name, photos)
    yield _adapted_tile(setting, name, photos)
    for tiles in (1, FULL):
        yield from _photo(setting, name, photos, tiles)
    yield _memory(setting, name)


def _photos(folder: Path) -> Iterator[str]:
    """Paths of photos, each of which no process has seen."""
    for seed in count():
        file = folder / f"vlm-photo-{seed}.jpg"
        file.write_bytes(workload.photo(seed, *PHOTO))
        yield str(file)


def _tile(setting: Setting, name: str, photos: Iterator[str]) -> TableRow:
    photo = next(photos)
    samples, beside = _beside(
        setting,
        lambda: float(setting.ours.ask("tile", path=photo)["seconds"]),
        lambda peer: peer.worker.ask("tile", path=photo),
    )
    note = "through the vision encoder and the connector; the ratio is of the times, ours over the peer's"
    return row(f"{name}_tile", "s", samples, Target("at most", 1 / LEAST_TILE, "ratio"), beside, note)


def _adapted_tile(setting: Setting, name: str, photos: Iterator[str]) -> TableRow:
    """A tile with an adapter on the vision encoder and the connector beside one without."""
    photo = next(photos)
    setting.ours.ask("adapt", rank=LORA_RANK)

    def tile(adapted: bool) -> Measure:
        return lambda: float(setting.ours.ask("tile", path=photo, adapted=adapted)["seconds"])

    taken = alternate(setting.rounds, {"with": tile(True), "without": tile(False)})
    target, none = Target("at most", MOST_ADAPTED_TILE, "ratio"), ("no adapter", taken["without"])
    return row(f"{name}_tile_lora_r{LORA_RANK}", "s", taken["with"], target, none)


def _photo(setting: Setting, name: str, photos: Iterator[str], tiles: int) -> list[TableRow]:
    """From reading the file to the first token, and the same for a second question, which looks at no tile again."""
    again: list[float] = []
    detail = "low" if tiles == 1 else "high"

    def ours() -> float:
        reply = setting.ours.ask("photo", path=next(photos), question=QUESTION, detail=detail)
        again.append(float(reply["again"]))
        return float(reply["seconds"])

    def theirs(peer: Peer) -> dict[str, Any]:
        return peer.worker.ask("photo", path=next(photos), question=QUESTION, tiles=tiles)

    if tiles == FULL:  # everything is warm after the photos of one tile
        setting = replace(setting, rounds=min(setting.rounds, FULL_ROUNDS), warm_up=0)
    samples, beside = _beside(setting, ours, theirs)
    target = Target("at most", 1 / LEAST_PHOTO, "ratio")
    note = f"{PHOTO[0]} x {PHOTO[1]} JPEG that was not seen before, from reading the file to the first token"
    figure = f"{name}_photo_{tiles}_tile{'s' if tiles > 1 else ''}"
    second = Samples(tuple(again[-len(samples.values) :]))
    return [row(figure, "s", samples, target, beside, note), row(f"{figure}_second_question", "s", second)]


def _beside(
    setting: Setting, ours: Measure, theirs: Callable[[Peer], dict[str, Any]]
) -> tuple[Samples, tuple[str, Samples] | None]:
    """Our seconds, and those of the peer's fastest variant in the same rounds with its name."""
    peer, variant = setting.theirs, setting.best
    if peer is None or variant is None:
        return alternate(setting.rounds, {"ours": ours}, setting.warm_up)["ours"], None
    peer.use(variant)
    measures = {
        "ours": setting.idle.watch(ours, [peer.worker.process]),
        "theirs": setting.idle.watch(lambda: float(theirs(peer)["seconds"]), [setting.ours.process]),
    }
    taken = alternate(setting.rounds, measures, setting.warm_up)
    return taken["ours"], (variant.name, taken["theirs"])


def fastest(peer: Peer, folder: Path) -> Variant:
    """The peer's variant with the shortest of two times for a tile."""
    photo, best, chosen = next(_photos(folder)), math.inf, peer.variants[0]
    for variant in peer.variants:
        peer.use(variant)
        for _ in range(2):
            seconds = float(peer.worker.ask("tile", path=photo)["seconds"])
            if seconds < best:
                best, chosen = seconds, variant
    return chosen


def _memory(setting: Setting, name: str) -> TableRow:
    """Peak memory of our process less the packed weights, all of which it has in memory."""
    samples = Samples(((peak_memory(setting.ours.process) - setting.packed) / 1e6,))
    note = (
        f"peak resident memory after a photo of {FULL} tiles, context of 4096, "
        f"less {setting.packed / 1e6:.0f} MB of packed weights"
    )
    return row(f"{name}_memory_over_weights", "MB", samples, Target("at most", 400.0), note=note)
