"""The models that adapters run on, and which models are on this machine.

An adapter runs on the weights that it was trained for, whatever model was chosen for everything else. These weights may
be here under several names; then it runs on the chosen model if that is one of them. The router reads the features of
the embedded default, so that its choices do not depend on the chosen model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adapters.spec import parse_spec
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import MANIFEST_FILE, NOT_DECLARED
from edge_app.system import paths
from models.core.errors import UserError
from models.hub.store import BaseDigests, ModelStore

TOLD_FILE = ".told-of-missing-router"
"""The file in the models' folder that says that the user knows that the embedded default is missing."""

_BASE_LINES = re.compile(r"(?m)^base_(?:model|digest)[ \t]*=.*$")

Stamp = tuple[int, int, int]
"""Inode, size and modification time (ns) of a manifest."""


@dataclass(frozen=True)
class AdapterBase:
    """What a manifest says of the base. model: its name. digest: as AdapterManifest.base_digest."""

    model: str
    digest: str


class AdapterBases:
    """The base models of installed adapters. The methods may be called from any thread.

    `general` is the name of the model that was chosen. It counts as being on this machine, because it is pulled when it
    is first needed, and it is the base of an adapter without a manifest.
    """

    def __init__(self, adapters: AdapterStore) -> None:
        self._adapters = adapters
        self._bases: dict[str, tuple[Stamp, AdapterBase | None]] = {}
        self._digests: dict[tuple[str, str], BaseDigests] = {}

    @cached_property
    def embedded(self) -> str:
        """The name of the embedded default."""
        return self._models.catalog.default

    def of(self, adapter: str | None, general: str) -> str:
        """The model that runs an adapter or a sum of adapters; the general one for None.

        Raises UserError when the adapter is not installed, its model is not here, or the parts of a sum run on several.
        """
        if adapter is None:
            return general
        names = parse_spec(adapter).names
        bases = [self._base(name) for name in names]
        choices = [self.models_of(base, general) for base in bases]
        common = [model for model in choices[0] if all(model in others for others in choices)]
        if common:
            return common[0]
        models = sorted({general if base is None else base.model for base in bases})
        if len(models) > 1:
            raise UserError(
                f"{adapter} adds adapters of several models ({', '.join(models)}); they cannot be added."
            )
        model = models[0]
        if self.is_here(model, general):
            raise UserError(
                f"{adapter} was made for other weights than those of the model {model} that is here; get a version "
                "for these."
            )
        raise UserError(
            f"{adapter} runs on the model {model}, which is not on this machine; `edge-app models pull {model}` "
            "brings it."
        )

    def usable(self, names: Collection[str], general: str) -> tuple[str, ...]:
        """The adapters whose base is on this machine."""
        return tuple(name for name, models in self.runs_on(names, general).items() if models)

    def runs_on(self, names: Collection[str], general: str) -> dict[str, tuple[str, ...]]:
        """By adapter, the models here that it can run on; it runs on the first. None where its base is not here."""
        bases = {name: self._base(name) for name in names}
        found = {base: self.models_of(base, general) for base in {*bases.values()}}
        return {name: found[base] for name, base in bases.items()}

    def models_of(self, base: AdapterBase | None, general: str) -> tuple[str, ...]:
        """The models here that have the weights of a base: the general one, the one that it names, others by name."""
        if base is None:
            return (general,)
        runs_on_named = self._runs_on_named(base, general)
        named = {base.model} if runs_on_named else set()
        here = (name for name in self._copies(base, runs_on_named) if self.is_here(name, general))
        return tuple(sorted(named.union(here), key=lambda name: (name != general, name != base.model, name)))

    def is_here(self, model: str, general: str) -> bool:
        """Whether a model is on this machine, or will be when it is needed."""
        if model == general:
            return True
        return self._knows(model) and self._models.find(model) is not None

    def memory(self, model: str) -> int:
        """Bytes that a model takes in memory; 0 for one that no catalog has."""
        return self._models.show(model).entry.memory if self._knows(model) else 0

    def images_at_once(self, model: str) -> int:
        """How many images the model sees in one prompt; 1 for one that no catalog has."""
        entry = self._models.catalog.entries.get(model)
        return 1 if entry is None else entry.images_at_once

    def check(self, general: str) -> None:
        """Raises UserError, with the names that there are and the way back, for a model that no catalog has."""
        if not self._knows(general):
            catalog = self._models.catalog
            try:
                catalog.entry(general)
            except UserError as error:
                raise UserError(
                    f"{str(error).rstrip('.')}. Where the settings choose it, `edge-app models use {catalog.default}` "
                    "chooses the default instead."
                ) from None

    def is_first_notice(self) -> bool:
        """Whether the user was not yet told that the embedded default is missing. It is true once on this machine."""
        try:
            (paths.ensure(paths.models_directory()) / TOLD_FILE).touch(exist_ok=False)
        except OSError:  # it is there, or cannot be written
            return False
        return True

    def _knows(self, model: str) -> bool:
        if model not in self._models.catalog.entries:
            self.__dict__.pop("_models", None)  # it may have been added since
        return model in self._models.catalog.entries

    @cached_property
    def _models(self) -> ModelStore:
        return ModelStore(paths.models_directory())

    def _copies(self, base: AdapterBase, runs_on_named: bool) -> list[str]:
        """The models of the catalog that have the weights of a base under another name than it gives.

        Computing a base digest may read megabytes. So it is done only for models of the same published weights, unless
        the weights of the named one are not known.
        """
        entries = self._models.catalog.entries
        named = entries.get(base.model)
        if named is None or not (runs_on_named or base.digest == NOT_DECLARED):
            return [name for name in entries if base.digest in self._base_digests(name).accepted]
        alike = [
            name
            for name, entry in entries.items()
            if (entry.digest, entry.engine) == (named.digest, named.engine) and name != base.model
        ]
        return [
            name
            for name in alike
            if self._base_digests(name).current == self._base_digests(base.model).current
        ]

    def _base_digests(self, name: str) -> BaseDigests:
        """The digests of a model of the catalog, computed once for its files."""
        key = name, self._models.catalog.entries[name].digest
        if key not in self._digests:
            self._digests[key] = self._models.base_digests(name)
        return self._digests[key]

    def _runs_on_named(self, base: AdapterBase, general: str) -> bool:
        """Whether the base is here by its name. A model that was added may have other weights than its name had."""
        if not self.is_here(base.model, general):
            return False
        entry = self._models.catalog.entries.get(base.model)
        if base.digest == NOT_DECLARED or entry is None or not entry.origin:
            return True
        return base.digest in self._base_digests(base.model).accepted

    def _base(self, name: str) -> AdapterBase | None:
        """What an adapter's manifest says, read again when it changes; None without a readable manifest.

        There may be a thousand adapters, and this is asked at every question.
        """
        try:
            path = self._adapters.directory / name / MANIFEST_FILE
            try:
                status = path.stat()
            except FileNotFoundError:  # it may be replaced at this moment
                path = self._adapters.folder(name) / MANIFEST_FILE
                status = path.stat()
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            known = self._bases.get(name)
            if known is None or known[0] != stamp:
                known = self._bases[name] = stamp, _read_base(path)
            return known[1]
        except (OSError, UserError):
            return None


def _read_base(path: Path) -> AdapterBase | None:
    """The base in a manifest; None when it names none. Of a usual one only two lines are parsed, in 0.05 ms."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [match[0] for match in _BASE_LINES.finditer(text)]
    once = len(lines) == len({line.partition("=")[0].strip() for line in lines})
    try:
        found = tomllib.loads("\n".join(lines) if once else text)
    except tomllib.TOMLDecodeError:
        return None
    model, digest = found.get("base_model"), found.get("base_digest", NOT_DECLARED)
    return AdapterBase(model, digest) if isinstance(model, str) and isinstance(digest, str) else None
