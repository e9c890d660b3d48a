"""Reads and writes catalog.toml files, and checks every field of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from models.core.errors import UserError
from models.hub.catalog import (
    DEFAULT_ENGINE,
    MODEL_NAME,
    Catalog,
    CatalogEntry,
    CatalogFile,
    HubSource,
    LocalSource,
    Pin,
    PypiSource,
    Source,
)

BUILT_IN = Path(__file__).with_name("catalog.toml")

ADDED = ".added"
"""Folder beside the user's catalog with a file of the same form for each model that `models pull SOURCE` added."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PYPI = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)")
_HUB = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")


def read_catalog(additional: Path | None = None) -> Catalog:
    """The app's catalog together with the entries of the additional file and of the folder ADDED beside it.

    Either may be missing. Raises UserError when the additional file is malformed, or when it redefines a model. A file
    of the folder with such a fault is skipped: the other models still work, and this one can be removed.
    """
    content = _read_toml(BUILT_IN)
    entries = _entries(BUILT_IN, content)
    skipped: dict[str, str] = {}
    if additional is not None and additional.exists():
        entries |= _more_entries(additional, entries)
    for path in sorted((additional.parent / ADDED).glob("*.toml")) if additional is not None else ():
        try:
            entries |= _more_entries(path, entries)
        except UserError as error:
            skipped[path.stem] = f"{error}; `edge-app models remove {path.stem}` removes this model."
    return Catalog(entries, content["default"], skipped)


def _more_entries(path: Path, entries: Mapping[str, CatalogEntry]) -> dict[str, CatalogEntry]:
    """The entries of a file. Raises UserError when it is malformed or redefines one of these."""
    more = _entries(path, _read_toml(path))
    if taken := sorted(entries.keys() & more.keys()):
        raise UserError(f"{path} redefines {taken[0]}, which is there already; choose another name")
    return more


def as_toml(entry: CatalogEntry) -> bytes:
    """A catalog with this entry alone. It has no bundled folder, and no files from a package index.

    Raises UserError when a catalog cannot hold the entry.
    """
    files = {}
    for file in entry.files:
        match file.source:
            case HubSource(path=path):
                source = {"source": str(file.source), "path": path}
            case LocalSource():
                source = {"source": str(file.source)}
            case PypiSource():
                raise ValueError(f"{entry.name} comes from a package index")
        files[file.role] = {"name": file.pin.name, "size": file.pin.size, "sha256": file.pin.sha256, **source}
    fields: dict[str, object] = {
        "description": entry.description,
        "family": entry.family,
        "licence": entry.licence,
        "origin": entry.origin,
        "images_at_once": entry.images_at_once,
        "memory": entry.memory,
        "files": files,
    }
    try:
        content = tomli_w.dumps({"models": {entry.name: fields}}).encode()
    except UnicodeEncodeError:  # a path on this machine may hold such bytes
        raise UserError(
            f"{entry.name}: its path or description is not valid text; rename the files."
        ) from None
    _entries(Path(entry.name), tomllib.loads(content.decode()))
    return content


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def _entries(path: Path, content: Mapping[str, Any]) -> dict[str, CatalogEntry]:
    models = content.get("models")
    if not isinstance(models, dict):
        raise UserError(f"{path} has no [models.NAME] table")
    return {
        name: _entry(_CatalogTable(path, f"models.{name}", fields), name) for name, fields in models.items()
    }


class _CatalogTable:
    """A TOML table whose fields are checked when they are read. Errors name the file and the field."""

    def __init__(self, path: Path, name: str, fields: object) -> None:
        self.path = path
        self.name = name
        if not isinstance(fields, dict):
            raise UserError(f"{path}: {name} is not a table")
        self._fields: dict[str, Any] = fields

    def wrong(self, key: str, wanted: str) -> UserError:
        return UserError(f"{self.path}: {self.name}.{key} is {self._fields.get(key)!r}, not {wanted}")

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        """Text, which must match the pattern if there is one."""
        value = self._fields.get(key)
        if not isinstance(value, str) or (pattern and not pattern.fullmatch(value)):
            raise self.wrong(key, f"text of the form {pattern.pattern}" if pattern else "text")
        return value

    def optional_text(self, key: str) -> str:
        return self.text(key) if key in self._fields else ""

    def count(self, key: str) -> int:
        """A positive whole number."""
        value = self._fields.get(key)
        if type(value) is not int or value <= 0:
            raise self.wrong(key, "a positive whole number")
        return value

    def digests(self, key: str) -> tuple[str, ...]:
        """A list of sha256, empty when it is left out."""
        value = self._fields.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and _SHA256.fullmatch(v) for v in value):
            raise self.wrong(key, f"a list of text of the form {_SHA256.pattern}")
        return tuple(value)

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names of models, empty when it is left out."""
        value = self._fields.get(key, [])
        if not isinstance(value, list) or not all(
            isinstance(v, str) and MODEL_NAME.fullmatch(v) for v in value
        ):
            raise self.wrong(key, "a list of names of models")
        return tuple(value)

    def optional_count(self, key: str, default: int) -> int:
        return self.count(key) if key in self._fields else default

    def table(self, key: str) -> _CatalogTable:
        return _CatalogTable(self.path, f"{self.name}.{key}", self._fields.get(key))

    def tables(self, key: str) -> dict[str, _CatalogTable]:
        """A table of tables, by name."""
        tables = self._fields.get(key)
        if not isinstance(tables, dict) or not tables:
            raise self.wrong(key, "a table of tables")
        return {
            name: _CatalogTable(self.path, f"{self.name}.{key}.{name}", table)
            for name, table in tables.items()
        }


def _entry(table: _CatalogTable, name: str) -> CatalogEntry:
    """The catalog entry in a table. Raises UserError."""
    if not MODEL_NAME.fullmatch(name):
        raise UserError(f"{table.path}: {name!r} is no name for a model (small letters, digits, . _ -)")
    files = tuple(_file(fields, role) for role, fields in table.tables("files").items())
    if len({file.pin.name for file in files}) != len(files):
        raise UserError(f"{table.path}: two files of {name} have the same name")
    bundled = table.optional_text("bundled")
    engine = table.optional_text("engine") or DEFAULT_ENGINE
    return CatalogEntry(
        name=name,
        description=table.text("description"),
        family=table.text("family") if engine == DEFAULT_ENGINE else table.optional_text("family"),
        licence=table.text("licence"),
        files=files,
        bundled=table.path.parent / bundled if bundled else None,
        engine=engine,
        earlier_base_digests=table.digests("earlier_base_digests"),
        images_at_once=table.optional_count("images_at_once", 1),
        good_at=table.optional_text("good_at"),
        memory_given=table.optional_count("memory", 0),
        origin=table.optional_text("origin"),
        better=table.names("better"),
    )


def _file(table: _CatalogTable, role: str) -> CatalogFile:
    return CatalogFile(role, _pin(table), _source(table))


def _pin(table: _CatalogTable) -> Pin:
    return Pin(table.text("name", _FILE_NAME), table.count("size"), table.text("sha256", _SHA256))


def _source(table: _CatalogTable) -> Source:
    """The source that a file's table names. Raises UserError."""
    kind, _, rest = table.text("source").partition(":")
    if kind == "pypi" and (match := _PYPI.fullmatch(rest)):
        return PypiSource(match[1], match[2], _pin(table.table("archive")), table.text("member"))
    if kind == "hf" and (match := _HUB.fullmatch(rest)):
        return HubSource(match[1], match[2], table.text("path"))
    if kind == "file" and rest:
        return LocalSource(table.path.parent / rest)
    raise table.wrong("source", '"pypi:NAME==VERSION", "hf:OWNER/NAME@40-DIGIT-COMMIT" or "file:PATH"')
