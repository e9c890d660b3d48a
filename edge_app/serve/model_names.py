"""The names that a request may give as its model: auto, the models on this machine, and the installed adapters."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adapters.spec import parse_spec
from adapters.store.adapter_store import RESERVED, AdapterStore
from edge_app.engine.bundled_adapters import unsettled
from edge_app.serve.errors import ApiError
from edge_app.settings import Settings
from edge_app.system import paths
from models.core.errors import UserError
from models.hub.store import ModelStore

AUTO = "auto"


@dataclass(frozen=True)
class ServedModel:
    """A name, and what answers under it. created: Unix time, in seconds."""

    name: str
    kind: Literal["auto", "model", "adapter"]
    created: int

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "edge-app",
            "edge_app": {"kind": self.kind},
        }


class ServedModels:
    """Reads the disk at each call, since models and adapters may come and go while the server runs."""

    def __init__(self, settings: Settings, adapters: AdapterStore) -> None:
        self._settings = settings
        self._adapters = adapters
        self._started = int(time.time())

    def all(self) -> tuple[ServedModel, ...]:
        """auto first, then models, then adapters, each by name. Raises UserError when the catalog cannot be read."""
        models = [
            ServedModel(name, "model", self._created(self._store().root / name)) for name in self._models()
        ]
        adapters = [
            ServedModel(name, "adapter", self._created(self._adapters.directory / name))
            for name in self._adapter_names()
        ]
        return (ServedModel(AUTO, "auto", self._started), *models, *adapters)

    def get(self, name: str) -> ServedModel:
        """Raises ApiError with status 404 for a name that stands for nothing."""
        found = next((each for each in self.all() if each.name == name), None)
        if found is None:
            raise self._unknown(name)
        return found

    def resolve(self, name: str) -> tuple[str, str | None]:
        """The adapter and the model of a turn, as Turn has them. Raises ApiError with status 404.

        A model's name means the model without an adapter. A sum of adapters, as in "receipts:0.5,medical:0.5", is a
        name too.
        """
        if name == AUTO:
            return AUTO, None
        if name in self._models():
            return "none", name
        with suppress(UserError):
            if set(parse_spec(name).names) <= set(self._adapter_names()):
                return name, None
        raise self._unknown(name)

    def _models(self) -> tuple[str, ...]:
        """The models on this machine, and the chosen one, which is pulled when it is first needed."""
        here = {status.entry.name for status in self._store().list() if status.pulled}
        return tuple(sorted({*here, self._settings.model}))

    def _adapter_names(self) -> tuple[str, ...]:
        """The installed adapters, and those that come with the app and are installed before the first answer."""
        bundled = unsettled() if self._settings.bundled_adapters else ()
        return tuple(sorted({*self._adapters.names(), *bundled} - {*RESERVED}))

    def _unknown(self, name: str) -> ApiError:
        remedy = "GET /v1/models lists the names that there are"
        if name in self._store().catalog.entries:
            remedy = f"`edge-app models pull {name}` brings it to this machine"
        return ApiError(
            f"There is no model {name!r} here; {remedy}.",
            status=404,
            code="model_not_found",
            param="model",
        )

    def _created(self, folder: Path) -> int:
        try:
            return int(folder.stat().st_mtime)
        except OSError:  # it is not here yet, or not any more
            return self._started

    @staticmethod
    def _store() -> ModelStore:
        return ModelStore(paths.models_directory())
