"""Holds the engine and the adapters in memory. Both are loaded at their first use, with Progress events.

Everything but `prefetch` runs on the inference thread.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapters.bank import AdapterBank, Lease
from adapters.store.adapter_store import AdapterStore
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, ImageEncoded, Progress
from edge_app.settings import Settings
from edge_app.system import paths
from edge_app.system.offline import switch as offline
from models.core.types import Image, Stage
from models.core.types import Progress as ProgressCallback

if TYPE_CHECKING:
    from models.engine import Engine


def load_engine(settings: Settings, progress: ProgressCallback) -> Engine:
    """Downloads missing files and loads the model of the settings.

    progress: receives the stages of the download and of loading. It is used during the call only.
    Raises UserError, and NeedsNetwork when files are missing and the app is offline.
    """
    from models.core.cache import remove_unused
    from models.engine import load_model
    from models.hub.store import ModelStore

    store = ModelStore(paths.ensure(paths.models_directory()))
    files = store.pull(settings.model, progress=progress, offline=offline.is_on)
    cache = paths.ensure(paths.cache_directory())
    with _without_garbage_collection():
        engine = load_model(
            files,
            cache_dir=cache,
            threads=settings.threads,
            context_length=settings.context_length,
            progress=progress,
        )
    remove_unused(cache)
    return engine


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Loading creates about 100,000 objects that stay; collecting garbage meanwhile takes 10% of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


LoadEngine = Callable[[Settings, ProgressCallback], "Engine"]


class EngineHost:
    """The engine of one model with its adapters. At first it is the model of the settings.

    load: loads an engine. broadcast: emits an event to all jobs that wait, since a load concerns all of them.
    """

    def __init__(
        self,
        settings: Settings,
        adapters: AdapterStore,
        load: LoadEngine,
        broadcast: Callable[[Event], None],
    ) -> None:
        self._settings = settings
        self._adapters = adapters
        self._bank: AdapterBank | None = None
        self._load = load
        self._broadcast = broadcast
        self._engine: Engine | None = None

    def engine(self, job: Job) -> Engine:
        """The engine; the first call loads it. Raises UserError, NeedsNetwork, CancelledError."""
        if self._engine is None:
            leave_if_cancelled(job)
            self._engine = self._load(self._settings, reporter(job, self._broadcast))
            budget = self._settings.adapter_memory * 1_000_000
            self._bank = AdapterBank(self._adapters, budget, self._engine.adapters)
        return self._engine

    @property
    def model(self) -> str:
        """The name of the model that answers."""
        return self._settings.model

    def use(self, model: str) -> None:
        """Answers with this model. The engine of another one is freed first; `engine` loads the new one."""
        if model != self.model:
            self.close()
            self._settings = self._settings.model_copy(update={"model": model})

    def acquire(self, adapter: str | None, job: Job) -> Lease:
        """A lease of an adapter, which the caller must release. Raises UserError, and what `engine` raises."""
        self.engine(job)
        assert self._bank is not None, "the bank is made with the engine"
        return self._bank.acquire(adapter)

    def prefetch(self, adapter: str | None) -> None:
        """Begins to load an adapter in the background, if the engine is loaded. May be called on any thread."""
        bank = self._bank
        if bank is not None:
            bank.prefetch(adapter)

    def encode(self, image: Image, job: Job) -> float:
        """Encodes an image unless it is encoded already, and emits ImageEncoded. Returns the time in milliseconds."""
        engine = self.engine(job)
        leave_if_cancelled(job)
        cached = engine.is_encoded(image)
        if not cached:
            job.emit(Progress("encode", f"Looking at {image.name}", 0, 1))
        before = time.perf_counter()
        encoded = engine.encode_image(image, progress=reporter(job, self._broadcast))
        milliseconds = 1000 * (time.perf_counter() - before)
        guesses = tuple((str(label), float(share)) for label, share in encoded.guesses)
        job.emit(ImageEncoded(image.name, image.digest, guesses, image.notes, cached, milliseconds))
        return milliseconds

    def close(self) -> None:
        """Frees the adapters and the engine."""
        if self._bank is not None:
            self._bank.close()
            self._bank = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def leave_if_cancelled(job: Job) -> None:
    """Raises CancelledError when the job was cancelled."""
    if job.cancelled.is_set():
        raise CancelledError


def reporter(job: Job, emit: Callable[[Event], None]) -> ProgressCallback:
    """A progress callback that emits Progress events. It raises CancelledError once the job is cancelled."""

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        leave_if_cancelled(job)
        emit(Progress(stage, message, done, total))

    return progress
