"""Repeats a change of an adapter store and stops it by SIGKILL or SIGINT, each time one file operation later.

test_kill.py runs it with the change ("install", "replace" or "remove") and the way to stop. After each stop the store
must have the complete old state or the complete new state, and the next change must remove what the stop left behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.install.installer import Wanted
from adapters.install.verify import verify_installed
from adapters.store.adapter_store import AdapterStore
from adapters.store.staging import changing
from tests.adapters.making import FakeModels, make_installer, tensors, write_adapter

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
INTERRUPTED = 130
States = tuple[tuple[str, ...], ...]


def stopped_at(root: Path, number: int, change: Callable[[], object], how: str) -> bool:
    """Makes the change in a child process. Returns whether it was stopped at its operation `number` under root."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        expected = INTERRUPTED << 8 if how == "interrupt" else signal.SIGKILL
        assert status in (0, expected), status
        return status != 0
    left = number

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in EVENTS and str(arguments[0]).startswith(str(root)):
            left -= 1
            if left == -1 and how == "interrupt":
                raise KeyboardInterrupt
            if left == -1:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    try:
        change()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except BaseException:
        os._exit(1)
    os._exit(0)


def state(directory: Path) -> tuple[str, ...]:
    """The version of the installed adapter; empty when none is installed. Fails when the adapter is incomplete."""
    store = AdapterStore(directory)
    for adapter in store.all():
        assert verify_installed(adapter, FakeModels().base_digests) is None, adapter
        assert store.load(adapter.name).weights.lora.tensors
        assert adapter.manifest is not None
        return (adapter.manifest.version,)
    return ()


def main(root: Path, what: str, how: str) -> int:
    """Prints the number of stops before the change completed."""
    one, two = (write_adapter(root / f"{n}", tensors(seed=n), version=f"{n}.0") for n in (1, 2))
    directory, before = root / "adapters", root / "before"
    installer = make_installer(directory)
    if what != "install":
        installer.install(Wanted(str(one)))
    (directory / ".staging").mkdir(parents=True, exist_ok=True)
    directory.replace(before)
    change: Callable[[], object]
    if what == "remove":
        allowed: States = (("1.0",), ())
        change = lambda: installer.remove("plants")  # noqa: E731
    else:
        allowed = (() if what == "install" else ("1.0",), ("2.0",))
        change = lambda: installer.install(Wanted(str(two)))  # noqa: E731
    for number in range(10_000):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(before, directory)
        stopped = stopped_at(directory, number, change, how)
        found = state(directory)
        assert found in (allowed if stopped else allowed[1:]), (number, found)
        if not stopped:
            print(number)
            return 0
        with changing(directory):
            pass
        assert state(directory) == found
        assert [file.name for file in (directory / ".staging").iterdir()] == ["lock"]
    return 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
