"""The models that can be pulled: for each file its source, size and sha256. catalog_file.py reads them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from models.core.errors import UserError
from models.formats.llama_weights import Precision
from models.formats.model_description import default_precision

DEFAULT_ENGINE = "compiled"
"""The engine of entries without the key `engine` (models.engine.ENGINES)."""

WEIGHT_FILES = (".safetensors", ".gguf", ".bin")
"""Suffixes of files of weights whose size decides how a model computes (models.formats.model_description)."""

WEIGHTS_IN_MEMORY = 1.1
"""Packed weights take about so many times the bytes of their files, where the files are quantised."""

MEMORY_BESIDE_WEIGHTS = 250_000_000
"""Bytes for the KV cache and for scratch memory of a small model, when nothing is known of its shape."""

MODEL_NAME = re.compile(r"(?!catalog\.toml$)[a-z0-9][a-z0-9._-]{0,63}")
MOST_FILE_NAME = 200  # characters


@dataclass(frozen=True)
class Pin:
    """The expected name, size in bytes and sha256 (hex) of a file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PypiSource:
    """A member of a wheel on a Python package index."""

    package: str
    version: str
    archive: Pin
    member: str

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}"


@dataclass(frozen=True)
class HubSource:
    """A file of a Hugging Face repository at one commit."""

    repository: str
    revision: str
    path: str

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"


@dataclass(frozen=True)
class LocalSource:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


Source = PypiSource | HubSource | LocalSource


@dataclass(frozen=True)
class CatalogFile:
    """One file of a model. role: its part in the model ("language_model", "vision_tower")."""

    role: str
    pin: Pin
    source: Source

    @property
    def download_size(self) -> int:
        """Bytes that are downloaded."""
        match self.source:
            case PypiSource(archive=archive):
                return archive.size
            case HubSource():
                return self.pin.size
            case LocalSource():
                return 0


@dataclass(frozen=True)
class CatalogEntry:
    """A model.

    bundled: directory of its files that come with the app, or None.
    family: see models.families.registry; may be "" for another engine than the default.
    engine: see models.engine.load_model.
    earlier_base_digests: see models.hub.store.BaseDigests.
    images_at_once: how many images of a conversation the model sees in one prompt.
    good_at: what it is for, in a few words; may be empty.
    memory_given: bytes, as in the catalog; 0 when that says nothing.
    origin: the source that the user named for a model that was added; "" for one that a catalog names.
    better: names of models that may answer where this one is unsure, the first choice first.
    """

    name: str
    description: str
    family: str
    licence: str
    files: tuple[CatalogFile, ...]
    bundled: Path | None
    engine: str = DEFAULT_ENGINE
    earlier_base_digests: tuple[str, ...] = ()
    images_at_once: int = 1
    good_at: str = ""
    memory_given: int = 0
    origin: str = ""
    better: tuple[str, ...] = ()

    @property
    def download_size(self) -> int:
        return sum(file.download_size for file in self.files)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.pin.size for file in self.files)

    @property
    def memory(self) -> int:
        """Bytes that the model takes in memory with a context of 4,096 tokens: as the catalog says, else estimated."""
        return self.memory_given or round(self.size * WEIGHTS_IN_MEMORY) + MEMORY_BESIDE_WEIGHTS

    @property
    def precision(self) -> Precision | None:
        """How the model computes without an adapter; None for another engine than the default."""
        if self.engine != DEFAULT_ENGINE:
            return None
        weights = (file.pin for file in self.files if PurePosixPath(file.pin.name).suffix in WEIGHT_FILES)
        return default_precision(sum(pin.size for pin in weights))

    @property
    def commit(self) -> str | None:
        """The commit that all files from a hub are of; None when there are no such files, or several commits."""
        commits = {file.source.revision for file in self.files if isinstance(file.source, HubSource)}
        return commits.pop() if len(commits) == 1 else None

    @property
    def digest(self) -> str:
        """sha256 (hex) of the sorted lines "role sha256". It identifies the published weights."""
        lines = sorted(f"{file.role} {file.pin.sha256}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def weights_digest(self) -> str:
        """sha256 (hex) under which packed weights are cached: of the language model's file, or of all roles."""
        return next((f.pin.sha256 for f in self.files if f.role == "language_model"), self.digest)


@dataclass(frozen=True)
class Catalog:
    """The known models by name.

    default: the name of the model that is used when none is chosen.
    skipped: models that were added and cannot be used, with the reason in a sentence, by name.
    """

    entries: Mapping[str, CatalogEntry]
    default: str
    skipped: Mapping[str, str] = field(default_factory=dict)

    def entry(self, name: str) -> CatalogEntry:
        """The model of this name. Raises UserError, listing the known names, when there is none."""
        if name not in self.entries and name in self.skipped:
            raise UserError(self.skipped[name])
        if name not in self.entries:
            raise UserError(f"There is no model named {name!r}; there are {', '.join(sorted(self.entries))}")
        return self.entries[name]

    def published_as(self, source: str) -> tuple[str, ...]:
        """The models that a repository or folder of this name holds, by name.

        source: as an adapter names its base model, such as "HuggingFaceTB/SmolVLM-500M-Instruct" or a path. Only its
        last part counts, since GGUF files are published by others: "ggml-org/SmolVLM-500M-Instruct-GGUF".
        """
        wanted = _published_name(source)
        return tuple(
            name
            for name, entry in sorted(self.entries.items())
            if wanted
            and wanted in {_published_name(each) for each in (name, entry.origin, *_repositories(entry))}
        )


def _repositories(entry: CatalogEntry) -> list[str]:
    return [file.source.repository for file in entry.files if isinstance(file.source, HubSource)]


def _published_name(source: str) -> str:
    """The last part of a repository's name or a path, in small letters, without a revision and "-gguf"."""
    return re.split(r"[/\\]", source.partition("@")[0].rstrip("/\\"))[-1].lower().removesuffix("-gguf")


def safe_file_name(name: str) -> str:
    """The name under which a model's file is kept: of the letters that a catalog allows, with the same suffix."""
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("._+-") or "file"
    suffix = PurePosixPath(safe).suffix[:20]
    return safe if len(safe) <= MOST_FILE_NAME else safe[: MOST_FILE_NAME - len(suffix)] + suffix
