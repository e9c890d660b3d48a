"""Engines are loaded when they are needed, within a budget of memory, and report to the job that needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.bank import Lease
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import AdapterManifest, write_manifest
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, Progress
from edge_app.settings import DEFAULT_MODEL, Settings
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Image, no_progress
from models.core.types import Progress as ProgressCallback
from models.engine import PackedAdapter
from models.hub.store import ModelStore
from tests.adapters.folders import put
from tests.edge_app.fakes import FakeEngine, FakeTokens

VISION = Progress("compile", "the vision tower", 0, None)


class LateVision(FakeEngine):
    """Loads its vision encoder with an image."""

    def encode_image(
        self, image: Image, adapter: PackedAdapter | None = None, progress: ProgressCallback = no_progress
    ) -> FakeTokens:
        progress(VISION.stage, VISION.message, VISION.done, VISION.total)
        return super().encode_image(image, adapter, progress)


@dataclass
class Loader:
    """Loads fake engines. loaded: the settings of each load. engines: the last engine of each model."""

    loaded: list[Settings] = field(default_factory=list)
    engines: dict[str, FakeEngine] = field(default_factory=dict)

    def __call__(self, settings: Settings, progress: ProgressCallback) -> Any:
        del progress
        self.loaded.append(settings)
        engine = self.engines[settings.model] = FakeEngine(name=settings.model)
        return engine

    @property
    def names(self) -> list[str]:
        return [settings.model for settings in self.loaded]


def job() -> Job:
    return Job(lambda _: None, lambda _: None)


def describe_models(
    memory: Mapping[str, int], *, images_at_once: int = 1, weights: Mapping[str, str] | None = None
) -> None:
    """Models of these sizes in memory, in megabytes, in the user's catalog, which are pulled.

    weights: the content of their files; None gives each its own.
    """
    folder, text = paths.ensure(paths.models_directory()), ""
    for name, megabytes in memory.items():
        source, content = folder / f"{name}.bin", (weights or {}).get(name, name).encode()
        source.write_bytes(content)
        text += f'[models.{name}]\ndescription = "d"\nfamily = "f"\nlicence = "l"\n'
        text += f"memory = {megabytes}_000_000\nimages_at_once = {images_at_once}\n"
        text += f'[models.{name}.files.weights]\nname = "w"\nsize = {len(content)}\n'
        text += f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsource = "file:{source}"\n'
    (folder / "catalog.toml").write_text(text)
    for name in memory:
        ModelStore(folder).pull(name)


def put_for(name: str, model: str, digest: str = "") -> Path:
    """An installed adapter whose manifest names its base."""
    folder = put(paths.adapters_directory(), name)
    files = dict.fromkeys(("adapter_config.json", "adapter_model.safetensors"), "0" * 64)
    manifest = AdapterManifest(name, "1.0", "A test.", model, digest, files=files)
    (folder / "adapter.toml").write_bytes(write_manifest(manifest))
    return folder


def pool_of(load: Any, **settings: Any) -> EnginePool:
    adapters = AdapterStore(paths.adapters_directory())
    return EnginePool(Settings(**settings), adapters, AdapterBases(adapters), load, lambda _: None)


def test_what_is_loaded_later_is_reported_to_the_job_that_needs_it_and_stops_with_it() -> None:
    reported: list[Event] = []
    adapters = AdapterStore(paths.adapters_directory())
    pool = EnginePool(Settings(), adapters, AdapterBases(adapters), LateVision().load, reported.append)
    first, second = job(), job()
    picture = Image(np.zeros((1, 1, 3), np.uint8), "1", "1.png")
    pool.engine(DEFAULT_MODEL, first)
    first.cancelled.set()  # it is over
    pool.encode(picture, DEFAULT_MODEL, second)
    assert reported == [VISION]
    second.cancelled.set()
    with pytest.raises(CancelledError):
        pool.encode(picture, DEFAULT_MODEL, second)


def test_a_switch_between_resident_engines_loads_nothing() -> None:
    describe_models({"a": 300, "b": 300})
    load = Loader()
    pool = pool_of(load, model="a", model_memory=1000)
    for model in ("a", "b", "a", "b"):
        assert pool.engine(model, job()).name == model
    assert load.names == ["a", "b"]
    assert list(pool.residents()) == ["a", "b"]
    pool.close()
    assert all(engine.closed for engine in load.engines.values())
    assert pool.residents() == {}


def test_the_engine_used_longest_ago_is_closed_when_the_budget_would_be_passed() -> None:
    describe_models({"a": 300, "b": 300, "c": 300})
    load = Loader()
    pool = pool_of(load, model_memory=700)
    for model in ("a", "b", "a", "c"):
        pool.engine(model, job())
    assert list(pool.residents()) == ["a", "c"]
    assert load.engines["b"].closed
    pool.engine("b", job())
    assert load.names == ["a", "b", "c", "b"]
    assert list(pool.residents()) == ["c", "b"]


def test_a_model_that_is_larger_than_the_budget_is_alone() -> None:
    describe_models({"a": 300, "big": 5000})
    pool = pool_of(Loader(), model_memory=700)
    pool.engine("a", job())
    pool.engine("big", job())
    assert list(pool.residents()) == ["big"]


def test_an_engine_with_an_answer_under_way_stays() -> None:
    describe_models({"a": 600, "b": 600})
    load = Loader()
    pool = pool_of(load, model_memory=700)
    lease = pool.acquire(None, "a", job())
    pool.engine("b", job())
    assert set(pool.residents()) == {"a", "b"}
    lease.release()
    lease.release()
    pool.engine("b", job())
    describe_models({"a": 600, "b": 600, "c": 600})
    pool.bases.is_here("c", DEFAULT_MODEL)
    pool.engine("c", job())
    assert set(pool.residents()) == {"c"}


def test_the_embedded_default_stays_for_the_router() -> None:
    describe_models({"a": 600, "b": 600})
    pool = pool_of(Loader(), model="a", model_memory=700)
    for model in (DEFAULT_MODEL, "a", "b"):
        pool.engine(model, job())
    assert set(pool.residents()) == {DEFAULT_MODEL, "b"}


def strong_adapter(pool: EnginePool, load: Loader, model: str, copy: int) -> Lease:
    """A lease of an adapter under which the model needs a copy of its weights of so many megabytes."""
    put_for("strong", model)
    pool.engine(model, job())
    load.engines[model].copy = copy * 1_000_000
    lease = pool.acquire("strong", model, job())
    load.engines[model].copy = 0  # it is loaded
    return lease


def test_the_copy_of_the_weights_that_an_adapter_needs_counts() -> None:
    describe_models({"a": 300, "b": 300})
    load = Loader()
    pool = pool_of(load, model="b", model_memory=700)
    pool.engine("a", job())
    strong_adapter(pool, load, "b", 200).release()
    assert {name: (each.memory, each.copy) for name, each in pool.residents().items()} == {
        "b": (300_000_000, 200_000_000)
    }
    pool.acquire("strong", "b", job()).release()
    assert pool.residents()["b"].copy == 200_000_000
    pool.engine("a", job())
    assert list(pool.residents()) == ["a"]
    assert load.engines["b"].closed


def test_of_the_embedded_default_the_copy_goes_unless_an_answer_uses_it() -> None:
    describe_models({"a": 300, "b": 200})
    load = Loader()
    pool = pool_of(load, model_memory=900)  # the embedded default takes 320
    lease = strong_adapter(pool, load, DEFAULT_MODEL, 500)
    pool.engine("a", job())
    assert load.engines[DEFAULT_MODEL].freed_copies == 0
    lease.release()
    pool.engine("b", job())
    assert load.engines[DEFAULT_MODEL].freed_copies == 1
    assert pool.residents()[DEFAULT_MODEL].copy == 0
    assert set(pool.residents()) == {DEFAULT_MODEL, "a", "b"}


def test_the_length_of_the_context_is_that_of_the_chosen_model() -> None:
    describe_models({"a": 10})
    load = Loader()
    pool = pool_of(load, model="a", context_length=777)
    pool.engine("a", job())
    pool.engine(DEFAULT_MODEL, job())
    assert [(each.model, each.context_length) for each in load.loaded] == [("a", 777), (DEFAULT_MODEL, None)]


# -- the bases of adapters --------------------------------------------------------------------------------


def test_an_adapter_runs_on_the_model_of_its_manifest() -> None:
    describe_models({"a": 10, "b": 10})
    put_for("ours", DEFAULT_MODEL)
    put_for("theirs", "b")
    put(paths.adapters_directory(), "plain")
    bases = AdapterBases(AdapterStore(paths.adapters_directory()))
    assert bases.of("theirs", "a") == "b"
    assert bases.of("plain", "a") == "a"
    assert bases.of(None, "a") == "a"
    assert bases.of("ours", DEFAULT_MODEL) == DEFAULT_MODEL
    assert bases.usable(["ours", "plain", "theirs"], "a") == ("plain", "theirs")
    assert bases.usable(["ours", "plain", "theirs"], DEFAULT_MODEL) == ("ours", "plain", "theirs")


def test_an_adapter_without_its_model_is_refused_with_what_brings_it() -> None:
    describe_models({"a": 10})
    put_for("ours", DEFAULT_MODEL)
    put_for("theirs", "unknown")
    bases = AdapterBases(AdapterStore(paths.adapters_directory()))
    with pytest.raises(UserError, match=f"edge-app models pull {DEFAULT_MODEL}"):
        bases.of("ours", "a")
    with pytest.raises(UserError, match="the model unknown, which is not on this machine"):
        bases.of("theirs", "a")
    with pytest.raises(UserError, match="several models"):
        bases.of("ours:0.5,theirs:0.5", DEFAULT_MODEL)


def test_a_model_that_is_pulled_meanwhile_is_found() -> None:
    put_for("theirs", "b")
    bases = AdapterBases(AdapterStore(paths.adapters_directory()))
    assert bases.usable(["theirs"], DEFAULT_MODEL) == ()
    describe_models({"b": 10})
    assert bases.usable(["theirs"], DEFAULT_MODEL) == ("theirs",)


def test_a_manifest_is_read_again_when_it_changes() -> None:
    describe_models({"a": 10, "b": 10})
    put_for("theirs", "b")
    bases = AdapterBases(AdapterStore(paths.adapters_directory()))
    assert bases.of("theirs", "a") == "b"
    put_for("theirs", "a")
    assert bases.of("theirs", DEFAULT_MODEL) == "a"
