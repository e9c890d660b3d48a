"""Puts the adapters that come with the app in their place: at the first start, and when the app brings newer ones.

Each is offered once: what the user removes, or has of that name from elsewhere, stays as the user left it.
They are installed as any adapter is, checked and tried on the model. Knows nothing of turns.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.store.adapter_store import AdapterStore, bundled_folder, bundled_names
from adapters.store.manifest import MANIFEST_FILE
from adapters.store.record import BY_THE_APP
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.files import write_whole

if TYPE_CHECKING:
    from models.core.types import Progress
    from models.engine import Engine

MARK = ".bundled.json"
"""Beside the adapters: by name, the stamp of the adapter that was offered."""


def unsettled() -> tuple[str, ...]:
    """Names of the adapters that come with the app and were never offered to this user, or not as they are now."""
    offered = _offered()
    return tuple(name for name in bundled_names() if offered.get(name) != _stamp(name))


def settle(settings: Settings, engine: Engine, progress: Progress) -> tuple[str, ...]:
    """Install what is unsettled and made for this engine's model; returns the names of what is new here.

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
            continue  # its turn comes with that model
        if _is_ours(store, name) or (name not in offered and not _is_taken(store, name)):
            with suppress(NotNewer):
                install(Wanted(name))
                new.append(name)
        offered[name] = _stamp(name)
        write_whole(_mark(), json.dumps(offered).encode())
    return tuple(new)


def _is_ours(store: AdapterStore, name: str) -> bool:
    """Whether there is an adapter of that name that came with the app."""
    record = store.get(name).record if store.has(name) else None
    return record is not None and record.signed_by == BY_THE_APP


def _is_taken(store: AdapterStore, name: str) -> bool:
    """Whether something of the user's has that name, in whatever capitals, or lies in its place."""
    folder = store.directory
    return folder.is_dir() and any(each.name.casefold() == name.casefold() for each in folder.iterdir())


def _mark() -> Path:
    return paths.adapters_directory() / MARK


def _offered() -> dict[str, list[int]]:
    try:
        content = json.loads(_mark().read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stamp(name: str) -> list[int]:
    """Size and time of its manifest, which has the hashes of all its files."""
    status = (bundled_folder(name) / MANIFEST_FILE).stat()
    return [status.st_size, status.st_mtime_ns]
