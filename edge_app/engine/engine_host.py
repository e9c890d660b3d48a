"""Holds the engine and the adapters in memory: loads them at their first use and tells how that goes.

Everything but `prefetch` runs on the inference thread. Knows no turns and no sessions.
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
    """Pulls what is missing and loads the model. Raises UserError, and NeedsNetwork when it is offline."""
    from models.core.cache import remove_unused
    from models.engine import load_model
    from models.hub.store import ModelStore

    store = ModelStore(paths.ensure(paths.models_directory()))
    files = store.pull(settings.model, progress=progress, offline=offline.is_on)
    cache = paths.ensure(paths.cache_directory())
    with _nothing_collected():
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
def _nothing_collected() -> Iterator[None]:
    """A vocabulary is a hundred thousand objects that stay: looking for garbage among them again and again
    would be a tenth of the time to start."""
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
    """broadcast: tells progress of the load to everyone who waits for it, not only to who started it."""

    def __init__(
        self,
        settings: Settings,
        adapters: AdapterStore,
        load: LoadEngine,
        broadcast: Callable[[Event], None],
    ) -> None:
        self.model = settings.model
        self._settings = settings
        self._adapters = adapters
        self._bank: AdapterBank | None = None
        self._load = load
        self._broadcast = broadcast
        self._engine: Engine | None = None

    def engine(self, job: Job) -> Engine:
        """The engine, pulled and loaded if it is not yet. Raises UserError, NeedsNetwork, CancelledError."""
        if self._engine is None:
            leave_if_cancelled(job)
            self._engine = self._load(self._settings, reporter(job, self._broadcast))
            budget = self._settings.adapter_memory * 1_000_000
            self._bank = AdapterBank(self._adapters, budget, self._engine.adapters)
        return self._engine

    def acquire(self, adapter: str | None, job: Job) -> Lease:
        """The adapter for the engine, to be released. Raises UserError, and what `engine` raises."""
        self.engine(job)
        assert self._bank is not None, "the bank is made with the engine"
        return self._bank.acquire(adapter)

    def prefetch(self, adapter: str | None) -> None:
        """Begin to load an adapter, if there is an engine yet. From any thread."""
        bank = self._bank
        if bank is not None:
            bank.prefetch(adapter)

    def encode(self, image: Image, job: Job) -> float:
        """Encodes an image unless that was done before, and says so. Returns the milliseconds it took."""
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
        if self._bank is not None:
            self._bank.close()
            self._bank = None
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def leave_if_cancelled(job: Job) -> None:
    if job.cancelled.is_set():
        raise CancelledError


def reporter(job: Job, emit: Callable[[Event], None]) -> ProgressCallback:
    """A progress callback that emits events, and leaves whatever calls it once the job is cancelled."""

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        leave_if_cancelled(job)
        emit(Progress(stage, message, done, total))

    return progress
