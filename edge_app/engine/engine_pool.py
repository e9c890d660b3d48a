"""The engines in memory, each with the adapters that run on it.

An engine is loaded when it is first needed. Together they stay within a budget of memory: the one used longest ago is
closed first. Everything but `prefetch` and the release of leases runs on the inference thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from adapters.bank import AdapterBank, Lease
from adapters.spec import parse_spec
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import Example
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.engine_loading import LoadEngine, free_closed, leave_if_cancelled, reporter
from edge_app.engine.inference_thread import Job
from edge_app.events import Event, ImageEncoded, Progress
from edge_app.settings import Settings
from models.core.types import Image

if TYPE_CHECKING:
    from models.engine import Engine, PackedAdapter

MEMORY_SHARE = 0.5
"""The share of the machine's memory that models take together, unless the setting `model_memory` says otherwise."""


@dataclass(frozen=True)
class ResidentEngine:
    """An engine in memory.

    bank: of its adapters. memory: bytes that it takes, as the catalog says. copy: bytes of the copy of its weights that
    some adapters need (Engine.memory_under); 0 when none of them was used.
    """

    engine: Engine
    bank: AdapterBank
    memory: int
    copy: int = 0


class EnginePool:
    """The engines of models by name.

    load: loads the engine of the settings' model. broadcast: emits an event to all jobs that wait, since a load
    concerns all of them.
    """

    def __init__(
        self,
        settings: Settings,
        adapters: AdapterStore,
        bases: AdapterBases,
        load: LoadEngine,
        broadcast: Callable[[Event], None],
    ) -> None:
        self.bases = bases
        self._settings = settings
        self._adapters = adapters
        self._load = load
        self._broadcast = broadcast
        self._residents: OrderedDict[str, ResidentEngine] = OrderedDict()  # used longest ago first
        self._held: Counter[str] = Counter()  # by model, leases of its adapters and of the model alone
        self._lock = threading.Lock()  # of _held

    def engine(self, model: str, job: Job) -> Engine:
        """The engine of a model; the first call loads it. Raises UserError, NeedsNetwork, CancelledError."""
        if model not in self._residents:
            leave_if_cancelled(job)
            memory = self.bases.memory(model)
            self._make_room(memory)
            engine = self._load(self._settings_of(model), reporter(job, self._broadcast))
            bank = AdapterBank(self._adapters, self._settings.adapter_memory * 1_000_000, engine.adapters)
            self._residents[model] = ResidentEngine(engine, bank, memory)
        self._residents.move_to_end(model)
        return self._residents[model].engine

    def residents(self) -> dict[str, ResidentEngine]:
        """The engines in memory by model, the one used longest ago first."""
        return dict(self._residents)

    def acquire(self, adapter: str | None, model: str, job: Job) -> Lease:
        """A lease of an adapter on its base model, which the caller must release; the engine stays until then.

        adapter: None for the model alone. Raises UserError, and what `engine` raises.
        """
        self.engine(model, job)
        resident = self._residents[model]
        lease = resident.bank.acquire(adapter)
        with self._lock:
            self._held[model] += 1
        if lease.weights is not None:
            self._count_copy(model, resident.engine.memory_under(lease.weights))
        return Lease(lease.weights, lease.reads, partial(self._release, lease, model), lease.copies)

    def _count_copy(self, model: str, size: int) -> None:
        """Makes room for the copy that an answer is about to need. size: bytes that it adds, 0 for none."""
        if size:
            resident = self._residents[model] = replace(self._residents[model], copy=0)
            self._make_room(size)
            self._residents[model] = replace(resident, copy=size)
            self._residents.move_to_end(model)

    def examples(self, adapter: str) -> tuple[Example, ...]:
        """The questions in the manifests of an adapter, or of a sum of adapters. Raises UserError."""
        manifests = [self._adapters.get(name).manifest for name in parse_spec(adapter).names]
        return tuple(example for each in manifests if each is not None for example in each.examples)

    def prefetch(self, adapter: str | None, model: str) -> None:
        """Begins to load an adapter in the background, if its base's engine is loaded. May be called on any thread."""
        resident = self._residents.get(model)
        if resident is not None:
            resident.bank.prefetch(adapter)

    def encode(self, image: Image, model: str, job: Job, adapter: PackedAdapter | None = None) -> float:
        """Encodes an image unless it is encoded already, and emits ImageEncoded. Returns the time in milliseconds.

        adapter: of this model, which may change its vision encoder.
        """
        engine = self.engine(model, job)
        leave_if_cancelled(job)
        cached = engine.is_encoded(image, adapter)
        if not cached:
            job.emit(Progress("encode", f"Looking at {image.name}", 0, 1))
        before = time.perf_counter()
        encoded = engine.encode_image(image, adapter, reporter(job, self._broadcast))
        milliseconds = 1000 * (time.perf_counter() - before)
        guesses = tuple((str(label), float(share)) for label, share in encoded.guesses)
        job.emit(ImageEncoded(image.name, image.digest, guesses, image.notes, cached, milliseconds))
        return milliseconds

    def close(self) -> None:
        """Frees the adapters and the engines."""
        while self._residents:
            self._close(next(iter(self._residents)))

    def _make_room(self, memory: int) -> None:
        """Closes engines until so many bytes fit, the one used longest ago first.

        An engine that an answer uses stays. Of the embedded default only the copy of its weights goes, because the
        router needs the model for the next question.
        """
        for model, resident in list(self._residents.items()):
            used = sum(each.memory + each.copy for each in self._residents.values())
            if used + memory <= self._budget:
                return
            with self._lock:
                held = self._held[model] > 0
            if held or (model == self.bases.embedded and not resident.copy):
                continue
            if model == self.bases.embedded:
                resident.engine.free_copy()
                self._residents[model] = replace(resident, copy=0)
            else:
                self._close(model)
            free_closed()

    def _close(self, model: str) -> None:
        resident = self._residents.pop(model)
        resident.bank.close()
        resident.engine.close()

    def _release(self, lease: Lease, model: str) -> None:
        lease.release()
        with self._lock:
            self._held[model] -= 1

    @cached_property
    def _budget(self) -> int:
        """Bytes."""
        if self._settings.model_memory is not None:
            return self._settings.model_memory * 1_000_000
        import psutil

        return int(psutil.virtual_memory().total * MEMORY_SHARE)

    def _settings_of(self, model: str) -> Settings:
        """The settings for loading a model. The length of the context is for the chosen model, not for the router's."""
        if model == self._settings.model:
            return self._settings
        chosen: dict[str, object] = {"model": model}
        if model == self.bases.embedded:
            chosen["context_length"] = None
        return self._settings.model_copy(update=chosen)
