"""Publishes repositories on a LoopbackServer as Hugging Face's hub does: its API and the files of a commit."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from tests.models.hub.loopback import LoopbackServer

COMMIT = "d" * 40


def publish_repository(
    server: LoopbackServer,
    repository: str,
    files: Mapping[str, bytes],
    *,
    revision: str = "main",
    commit: str = COMMIT,
    large: Collection[str] = (".safetensors", ".gguf", ".bin"),
) -> None:
    """large: ends of the names of files that are kept by their sha256 and redirect to another address."""
    card = {"sha": commit, "cardData": {"license": "apache-2.0"}, "siblings": []}
    for name in (revision, commit):
        server.add_json(f"/api/models/{repository}/revision/{name.replace('/', '%2F')}", card)
    listing: list[dict[str, Any]] = [{"type": "directory", "path": "onnx", "oid": "0" * 40, "size": 0}]
    for path, content in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
        address = f"/{repository}/resolve/{commit}/{path}"
        if path.endswith(tuple(large)):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            server.redirects[address] = f"/cdn/{digest}"
            server.files[f"/cdn/{digest}"] = content
        else:
            server.files[address] = content
        listing.append(entry)
    server.add_json(f"/api/models/{repository}/tree/{commit}?recursive=true", listing)
