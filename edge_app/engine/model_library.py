"""The models that a user can choose: their list, their download, and the one-time offer of a better one."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.engine.engine_loading import reporter
from edge_app.engine.inference_thread import CancelledError, Job
from edge_app.events import Event, Failed
from edge_app.system import paths
from edge_app.system.offline import switch as offline
from models.core.errors import UserError
from models.core.files import write_whole

if TYPE_CHECKING:
    from models.hub.store import ModelStatus, ModelStore

OFFERED_FILE = "offered-models.json"
"""The file in the models' folder with the names of models that were offered, as a list."""

MEMORY_SHARE = 0.5
"""A model is offered when it takes at most this share of the machine's memory."""


class ModelLibrary:
    """The models of this user. Its methods read the disk and may take a while; none needs the engine."""

    def list(self) -> tuple[ModelStatus, ...]:
        """All known models, those on this machine first. Raises UserError."""
        return self._store().list()

    def names(self) -> tuple[str, ...]:
        """The names of all known models; empty when the catalog cannot be read."""
        with suppress(UserError):
            return tuple(status.entry.name for status in self.list())
        return ()

    def show(self, name: str) -> ModelStatus:
        """One model. Raises UserError, listing the known names, when there is none of this name."""
        return self._store().show(name)

    def machine_memory(self) -> int:
        """Bytes of memory of this machine."""
        return _memory()

    def pull(self, name: str) -> Generator[Event, None, None]:
        """Downloads a model: Progress events, and Failed at the end when something went wrong.

        Closing the iterator stops the download before its next piece; a later one resumes it. Nothing happens before
        the first `next`.
        """

        def work(job: Job) -> None:
            try:
                self._store().pull(name, reporter(job, job.emit), offline=offline.is_on)
            except CancelledError:
                return
            except UserError as error:
                job.emit(Failed(str(error), error.exit_code))

        job = Job(work, lambda _: None)
        threading.Thread(target=job.run, args=(work,), name="model download", daemon=True).start()
        try:
            yield from job
        finally:
            job.cancelled.set()

    def better(self, model: str) -> ModelStatus | None:
        """The first model that the catalog calls better than this one and that fits into the machine's memory.

        None when there is none.
        """
        with suppress(UserError, OSError):
            store = self._store()
            entry = store.catalog.entries.get(model)
            for name in () if entry is None else entry.better:
                if store.show(name).entry.memory <= _memory() * MEMORY_SHARE:
                    return store.show(name)
        return None

    def offer(self, model: str) -> ModelStatus | None:
        """A model that may answer where this one is unsure, as `better` finds it.

        Each is returned once, and never again on this machine.
        """
        with suppress(UserError, OSError):
            status, offered = self.better(model), _offered()
            if status is None or status.entry.name in offered:
                return None
            write_whole(_offered_file(), json.dumps([*offered, status.entry.name]).encode())
            return status
        return None

    def _store(self) -> ModelStore:
        from models.hub.store import ModelStore

        return ModelStore(paths.ensure(paths.models_directory()))


def _memory() -> int:
    """Bytes of memory of this machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def _offered_file() -> Path:
    return paths.models_directory() / OFFERED_FILE


def _offered() -> list[str]:
    """Names in the file; empty when it is missing or damaged."""
    try:
        content = json.loads(_offered_file().read_bytes())
    except (OSError, ValueError):
        return []
    return [name for name in content if isinstance(name, str)] if isinstance(content, list) else []
