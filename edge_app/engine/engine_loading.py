"""Loads a model's engine, and reports what takes long to the job that waits for it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, Progress
from edge_app.settings import Settings
from edge_app.system import paths
from edge_app.system.offline import switch as offline
from models.core.types import Progress as ProgressCallback
from models.core.types import Stage

if TYPE_CHECKING:
    from models.engine import Engine

LoadEngine = Callable[[Settings, ProgressCallback], "Engine"]


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


def free_closed() -> None:
    """Frees the memory of engines that were closed, some of whose objects refer to one another.

    Loading marks objects as permanent, which would keep them.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


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
