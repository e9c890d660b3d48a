"""Connects the installer of adapters with the app: its settings, its folders, and its models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.store.adapter_store import AdapterStore
from edge_app.system import paths

if TYPE_CHECKING:
    from adapters.install.installer import CheckedAdapter, Installer
    from adapters.install.trust import Publishers
    from edge_app.engine.engine_loading import LoadEngine
    from edge_app.settings import Settings
    from models.core.types import Progress
    from models.engine import Engine
    from models.hub.store import BaseDigests


class AppModels:
    """Implements adapters.install.installer.Models with the app's model store and engine.

    Loaded engines stay in memory until `close`.
    """

    def __init__(self, settings: Settings, progress: Progress, load: LoadEngine | None = None) -> None:
        """load: loads an engine; None takes edge_app.engine.engine_loading.load_engine."""
        self._settings = settings
        self._progress = progress
        self._load = load
        self._engines: dict[str, Engine] = {}

    def base_for(self, published: str) -> str:
        """See adapters.install.installer.Models. The chosen model comes first, then one that is on this machine."""
        from models.hub.store import ModelStore

        store = ModelStore(paths.models_directory())
        found = store.catalog.published_as(published)
        chosen = self._settings.model
        here = [name for name in found if store.find(name) is not None]
        return chosen if chosen in found else next(iter([*here, *found]), chosen)

    def base_of(self, model: str, digest: str) -> str:
        """See adapters.install.installer.Models. The chosen model comes first."""
        from edge_app.engine.adapter_bases import AdapterBase, AdapterBases

        found = AdapterBases(adapter_store()).models_of(AdapterBase(model, digest), self._settings.model)
        return next(iter(found), model)

    def base_digests(self, name: str) -> BaseDigests:
        """See models.hub.store.ModelStore.base_digests. Raises UserError for an unknown model."""
        from models.hub.store import ModelStore

        return ModelStore(paths.models_directory()).base_digests(name)

    def load(self, name: str) -> Engine:
        """The engine of a model. Downloads missing files. Raises UserError, and NeedsNetwork when offline."""
        if name not in self._engines:
            from edge_app.engine.engine_loading import load_engine

            load = self._load or load_engine
            self._engines[name] = load(self._settings.model_copy(update={"model": name}), self._progress)
        return self._engines[name]

    def router_features(self, base: Engine) -> Engine:
        """The embedded default's engine; the base's own where the embedded default is not on this machine.

        The router reads the features of the embedded default, whatever model an adapter runs on.
        """
        from models.hub.store import ModelStore

        store = ModelStore(paths.models_directory())
        embedded = store.catalog.default
        return base if base.name == embedded or store.find(embedded) is None else self.load(embedded)

    def loaded(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()


def adapter_store() -> AdapterStore:
    """The store of this user's adapters."""
    return AdapterStore(paths.ensure(paths.adapters_directory()))


def publishers() -> Publishers:
    """The publishers that this user trusts."""
    from adapters.install.trust import Publishers

    paths.ensure(paths.config_directory())
    return Publishers(paths.publishers_file())


def installer(models: AppModels, confirm: Callable[[CheckedAdapter], bool], progress: Progress) -> Installer:
    """An installer for this user's adapters. confirm: see adapters.install.installer.Installer."""
    from adapters.bank import AdapterBank
    from adapters.install.installer import Installer
    from models.core.cache import PACKED
    from models.lora.packed_files import forget

    store, packed = adapter_store(), paths.cache_directory() / PACKED

    def changed(name: str) -> None:
        forget(packed, name)
        for engine in models.loaded():  # pack it now, so that the first answer only maps the file
            bank = AdapterBank(store, 0, engine.adapters)
            bank.prefetch(name)
            bank.close()

    return Installer(store, models, publishers(), confirm, progress, changed)
