"""The adapters that the figures of `bench` are measured on."""

from __future__ import annotations

import json
from pathlib import Path

from adapters.store.adapter_store import AdapterStore
from benchmarks.speed.adapters import install_many
from benchmarks.speed.peer import write_lora_gguf
from benchmarks.speed.runtime_worker import RuntimeWorker
from benchmarks.speed.workload import adapter, write_peft
from models.compiler.cpu import choose_path, detect
from tests.adapters.folders import SHAPE
from tests.models import tiny_llama


def test_many_adapters_are_installed_as_if_one_by_one(tmp_path: Path) -> None:
    install_many(tmp_path, 30, SHAPE)
    store = AdapterStore(tmp_path)
    assert len(store.names()) == 30
    for each in store.all():
        assert each.problem == ""
        assert each.manifest is not None and each.manifest.name == each.name
        assert each.record is not None
        files = json.loads((each.folder / "installed.json").read_text())["manifest"]["files"]
        assert files == dict(each.manifest.files)
    assert store.load("adapter-29").weights.lora.rank == 16


def test_the_worker_loads_switches_and_weighs_adapters(tmp_path: Path, engine_cache: Path) -> None:
    worker = RuntimeWorker()
    path = choose_path(detect(engine_cache))
    weights = tiny_llama.random_weights(tiny_llama.config(num_layers=2))
    worker.runtime = tiny_llama.runtime(
        weights, tmp_path / "weights", engine_cache / "compiled", path, threads=1
    )
    worker.adapters = {None: None}
    for name in ("one", "two"):
        write_peft(adapter(worker.runtime.shape, name, 1), tmp_path / "adapters" / name)
    places = {"directory": str(tmp_path / "adapters"), "packed": str(tmp_path / "packed")}
    first = worker.load_adapter(name="one", first=True, token=1, position=0, **places)
    assert first["seconds"] > 0
    assert len(list((tmp_path / "packed").iterdir())) == 1
    assert worker.load_adapter(name="one", first=False, token=1, position=0, **places)["seconds"] > 0
    assert "seconds" in worker.switch(names=["one", "two"], token=1, position=0, count=3, **places)
    assert worker.memory(names=["one", "two"], **places)["bytes"] >= 0
    worker.adapt("r8", 8)
    assert worker.adapters["r8"] is not None


def test_the_peer_gets_the_same_adapter(tmp_path: Path) -> None:
    weights = adapter(SHAPE, "same", 1, 8)
    write_lora_gguf(tmp_path / "same.gguf", weights)
    size = sum(2 * tensor.size for tensor in weights.tensors.values())
    assert size < (tmp_path / "same.gguf").stat().st_size < size + 20_000
