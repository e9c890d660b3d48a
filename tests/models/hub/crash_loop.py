"""Repeats the pull of a model and kills it with SIGKILL, each time one event later. test_store.py runs it.

An event is an operation on a file under the root, or a report of progress. After each kill there must be no model or
a complete one, and an undisturbed pull must then complete it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from models.hub.store import ModelStore
from tests.models.tiny_models import CONTENTS, NAME

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


def pull(root: Path, kill_at: int) -> None:
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
    ModelStore(root).pull(NAME, lambda *_: count())


def whole_or_nothing(root: Path) -> bool:
    """Whether the model is there. Fails when it is incomplete."""
    found = ModelStore(root).find(NAME)
    if found is None:
        return False
    for role, content in CONTENTS.items():
        assert found.files[role].read_bytes() == content, role
    return True


def main(root: Path) -> int:
    """Prints the number of kills before a pull completed."""
    catalog = root / "catalog.toml"
    text = catalog.read_text()
    for kill_at in range(10_000):
        shutil.rmtree(root)
        root.mkdir()
        catalog.write_text(text)
        child = os.fork()
        if child == 0:
            pull(root, kill_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            assert whole_or_nothing(root)
            print(kill_at)
            return 0
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        whole_or_nothing(root)
        ModelStore(root).pull(NAME)
        assert whole_or_nothing(root)
        leftovers = [path.name for path in (root / ".staging").iterdir()]
        assert leftovers == [f"{NAME}.lock"], leftovers
    return 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
