"""installed.json: where an installed adapter came from, and a copy of its manifest that is read fast.

Only folders of the store have this file; an exported adapter has none. The copy is used as long as adapter.toml has the
hash that was recorded with it, so that listing a thousand adapters parses no TOML, which takes 3 ms each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.store.manifest import MANIFEST_FILE, AdapterManifest, manifest_of, parse_manifest, parse_toml
from models.core.errors import FileError, UserError

RECORD_FILE = "installed.json"
BY_THE_APP = "app"
FORMAT = 1
_MOST_BYTES = 2**21


@dataclass(frozen=True)
class InstallRecord:
    """How an adapter was installed.

    source: the argument of `adapters install` that installs it again. revision: the commit; empty for a source without
    commits. sha256: the digest (hex) that the archive was pinned to, or empty. date: ISO 8601, UTC. signed_by: the
    fingerprint of the key that signed it, BY_THE_APP for one that comes with the app, or empty. base_digest: of the
    model that it was tested on. declared: whether the manifest is its author's; the app writes one for a plain PEFT
    folder. made: sha256 by name of files that the app added.
    """

    source: str
    date: str
    base_digest: str
    revision: str = ""
    sha256: str = ""
    signed_by: str = ""
    declared: bool = True
    made: Mapping[str, str] = field(default_factory=dict)


def read_manifest(folder: Path) -> tuple[AdapterManifest | None, InstallRecord | None]:
    """A folder's manifest and record; None for a file that is missing. Raises UserError when one is damaged."""
    path = folder / MANIFEST_FILE
    try:
        data: bytes | None = path.read_bytes()
    except FileNotFoundError:
        data = None
    except OSError as error:
        raise FileError(path, f" cannot be read ({error.strerror}).") from None
    stored = _read(folder / RECORD_FILE)
    record = _record(stored, folder / RECORD_FILE) if stored is not None else None
    if data is None:
        return None, record
    if stored is not None and stored.get("manifest_sha256") == hashlib.sha256(data).hexdigest():
        return manifest_of(stored.get("manifest"), path), record
    return parse_manifest(data, path), record


def write_record(folder: Path, record: InstallRecord) -> None:
    """Write the record beside the folder's adapter.toml."""
    data = (folder / MANIFEST_FILE).read_bytes()
    content = {
        "format": FORMAT,
        **vars(record),
        "made": dict(record.made),
        "manifest_sha256": hashlib.sha256(data).hexdigest(),
        "manifest": parse_toml(data, folder / MANIFEST_FILE),
    }
    (folder / RECORD_FILE).write_text(json.dumps(content), encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    """The content of installed.json; None when it is missing. Raises UserError when it is damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(path, f" cannot be read ({error.strerror}).") from None
    try:
        content = json.loads(data) if len(data) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise _damaged(path)
    return content


def _record(stored: Mapping[str, Any], path: Path) -> InstallRecord:
    """The record in the file's content. Raises UserError when a field is missing or of another type."""
    match stored:
        case {
            "source": str(source),
            "date": str(date),
            "base_digest": str(base_digest),
            "revision": str(revision),
            "sha256": str(sha256),
            "signed_by": str(signed_by),
            "declared": bool(declared),
            "made": dict(made),
        } if all(isinstance(value, str) for value in made.values()):
            return InstallRecord(source, date, base_digest, revision, sha256, signed_by, declared, made)
    raise _damaged(path)


def _damaged(path: Path) -> UserError:
    return FileError(path, " is damaged; install the adapter again with --force.")
