"""Repeats the pull of a model and kills it with SIGKILL, each time one event later. test_store.py runs it.

With a second argument the model is a folder, which is added to the catalog and copied.

An event is an operation on a file under the root, or a report of progress. After each kill there must be no model or
a complete one, and an undisturbed pull must then complete it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from models.hub.catalog import CatalogEntry, CatalogFile, LocalSource, Pin
from models.hub.store import ModelStore
from tests.models.tiny_models import CONTENTS, NAME

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


def add(root: Path, source: Path) -> None:
    """Add the folder to the catalog, as `models pull file:FOLDER` does."""
    files = tuple(
        CatalogFile(
            role,
            Pin(f"{role}.bin", len(content), hashlib.sha256(content).hexdigest()),
            LocalSource(source / role),
        )
        for role, content in CONTENTS.items()
    )
    entry = CatalogEntry(NAME, "d", "f", "l", files, None, origin=f"file:{source}")
    ModelStore(root).add(entry, {"language_model.bin": CONTENTS["language_model"]})


def pull(root: Path, kill_at: int, source: Path | None) -> None:
    """In a child process: counts events and kills itself at the given one."""
    left = kill_at

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and isinstance(arguments[0], str) and arguments[0].startswith(str(root)):
            count()

    sys.addaudithook(audit)
    if source is not None:
        add(root, source)
    ModelStore(root).pull(NAME, lambda *_: count())


def whole_or_nothing(root: Path) -> bool:
    """Whether the model is there. Fails when it is incomplete."""
    store = ModelStore(root)
    found = store.find(NAME) if NAME in store.catalog.entries else None
    if found is None:
        return False
    for role, content in CONTENTS.items():
        assert found.files[role].read_bytes() == content, role
    return True


def main(root: Path, source: Path | None) -> int:
    """Prints the number of kills before a pull completed."""
    catalog = root / "catalog.toml"
    text = catalog.read_text() if source is None else ""
    for kill_at in range(10_000):
        shutil.rmtree(root)
        root.mkdir()
        if source is None:
            catalog.write_text(text)
        child = os.fork()
        if child == 0:
            pull(root, kill_at, source)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            assert whole_or_nothing(root)
            print(kill_at)
            return 0
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        whole_or_nothing(root)
        if source is not None:
            add(root, source)
        ModelStore(root).pull(NAME)
        assert whole_or_nothing(root)
        leftovers = [path.name for path in (root / ".staging").iterdir()]
        assert leftovers == [f"{NAME}.lock"], leftovers
    return 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
