"""Installs the adapters that come with the app, at the first start and when the app has newer ones.

Each version is installed at most once: an adapter that the user removed is not installed again, and an adapter of the
same name from another source is not replaced. They pass the same checks as any other adapter.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.store.adapter_store import AdapterStore, bundled_folder, bundled_names
from adapters.store.manifest import MANIFEST_FILE
from adapters.store.record import BY_THE_APP
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.engine.engine_loading import reporter
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.files import write_whole

if TYPE_CHECKING:
    from edge_app.engine.engine_pool import EnginePool
    from edge_app.engine.inference_thread import Job
    from models.core.types import Progress
    from models.engine import Engine

MARK = ".bundled.json"
"""The file in the adapters' folder that holds, by name, the stamp of the version that was offered last."""


class BundledAdapters:
    """The bundled adapters as an assistant brings them: before its first choice among adapters.

    wanted: False for an assistant that brings none.
    """

    def __init__(self, settings: Settings, pool: EnginePool, bases: AdapterBases, *, wanted: bool) -> None:
        self._settings = settings
        self._pool = pool
        self._bases = bases
        self._wanted = wanted

    def coming(self, general: str) -> tuple[str, ...]:
        """Those that are installed before the next choice: on the embedded default, if that is on this machine.

        general: the chosen model.
        """
        if not self._wanted or not self._bases.is_here(self._bases.embedded, general):
            return ()
        return unsettled()

    def settle(self, general: str, job: Job) -> None:
        """Installs those that are coming. Runs on the inference thread. Raises CancelledError and UserError."""
        if self.coming(general):
            engine = self._pool.engine(self._bases.embedded, job)
            settle(self._settings, engine, reporter(job, job.emit))


def unsettled() -> tuple[str, ...]:
    """Names of the bundled adapters whose present version has not been offered to this user."""
    offered = _offered()
    return tuple(name for name in bundled_names() if offered.get(name) != _stamp(name))


def settle(settings: Settings, engine: Engine, progress: Progress) -> tuple[str, ...]:
    """Installs the `unsettled` adapters of this engine's model. Returns the names of those that were installed.

    Raises UserError when the disk refuses.
    """
    from adapters.install.installer import NotNewer, Wanted
    from adapters.store.manifest import parse_manifest
    from edge_app.engine.adapter_installer import AppModels, adapter_store, installer

    models = AppModels(settings, progress, lambda *_: engine)
    install = installer(models, lambda _: False, progress).install
    store, offered, new = adapter_store(), _offered(), []
    for name in unsettled():
        path = bundled_folder(name) / MANIFEST_FILE
        if parse_manifest(path.read_bytes(), path).base_model != engine.name:
            continue  # installed when that model is loaded
        if _is_ours(store, name) or (name not in offered and not _is_taken(store, name)):
            with suppress(NotNewer):
                install(Wanted(name))
                new.append(name)
        offered[name] = _stamp(name)
        write_whole(_mark(), json.dumps(offered).encode())
    return tuple(new)


def _is_ours(store: AdapterStore, name: str) -> bool:
    """Whether the installed adapter of that name came with the app."""
    record = store.get(name).record if store.has(name) else None
    return record is not None and record.signed_by == BY_THE_APP


def _is_taken(store: AdapterStore, name: str) -> bool:
    """Whether the adapters' folder has an entry of that name. Case is ignored, as some file systems do."""
    folder = store.directory
    return folder.is_dir() and any(each.name.casefold() == name.casefold() for each in folder.iterdir())


def _mark() -> Path:
    return paths.adapters_directory() / MARK


def _offered() -> dict[str, list[int]]:
    """The stamps in the file; empty when it is missing or damaged."""
    try:
        content = json.loads(_mark().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stamp(name: str) -> list[int]:
    """Size and modification time of the manifest, which contains the hashes of all other files."""
    status = (bundled_folder(name) / MANIFEST_FILE).stat()
    return [status.st_size, status.st_mtime_ns]
