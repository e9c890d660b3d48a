"""What the assistant can truly say about itself, from the catalog, the installed adapters and the endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_app.system import paths
from models.hub.catalog import CatalogEntry
from models.hub.catalog_file import read_catalog
from models.model_config import read_languages

if TYPE_CHECKING:
    from adapters.store.adapter_store import AdapterStore
    from edge_app.cloud.access import Standing


@dataclass(frozen=True)
class AdapterFacts:
    """An installed adapter: its name, one line on what it does, and its example questions, as far as it says."""

    name: str
    description: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class AssistantProfile:
    """model, description: of the model that answers here; the description may be empty.

    languages: ISO 639-1 codes of the languages that it speaks; empty when that is not known.
    adapters: the installed ones that can be used, by name.
    endpoint: "the cloud at HOST", and whether it may be asked now; None without one. offline: nothing may be sent.
    """

    model: str
    description: str
    languages: frozenset[str]
    adapters: tuple[AdapterFacts, ...]
    endpoint: str | None
    offline: bool


def read_profile(model: str, adapters: AdapterStore, standing: Standing) -> AssistantProfile:
    """Reads the catalog and the adapters' manifests. standing: of the endpoint for the turn."""
    entry = _entry(model)
    facts = []
    for adapter in adapters.all():
        manifest = adapter.manifest
        if adapter.problem:
            continue
        if manifest is None:
            facts.append(AdapterFacts(adapter.name, "", ()))
            continue
        questions = tuple(example.question for example in manifest.examples)
        facts.append(AdapterFacts(adapter.name, manifest.description, questions))
    place, obstacle = standing.endpoint, standing.obstacle
    return AssistantProfile(
        model=model,
        description=entry.description if entry is not None else "",
        languages=model_languages(model),
        adapters=tuple(facts),
        endpoint=str(place) if place is not None else None,
        offline=obstacle is not None and obstacle.kind == "offline",
    )


def model_languages(model: str) -> frozenset[str]:
    """The languages that a model speaks; empty when nothing says so, and nothing is checked then."""
    entry = _entry(model)
    return frozenset(read_languages(entry.bundled)) if entry is not None else frozenset()


def _entry(model: str) -> CatalogEntry | None:
    return read_catalog(paths.models_directory() / "catalog.toml").entries.get(model)
