"""Feeds readers with damaged inputs in a process of its own, with a limit of memory and of time for each input."""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from benchmarks.torture.targets import TARGETS, FuzzTarget

BATCH = 250
"""Inputs of one process. A run goes on after its last whole batch."""

SECONDS = 20
"""An input that takes longer is a fault."""

MEMORY_BYTES = 6 * 2**30
"""Address space of the process, which an input must not exhaust."""


@dataclass(frozen=True)
class Fault:
    """An input that was neither accepted nor refused as it should be. input: the file that holds it."""

    target: str
    seed: int
    error: str
    input: str


@dataclass(frozen=True)
class BatchResult:
    """Of one batch. tried: inputs that were read. refused: of these, with an error for the user."""

    tried: int
    refused: int
    fault: Fault | None


class _EscapedError(AssertionError):
    """An input left something outside of its folder."""


class _HungError(AssertionError):
    """An input took too long."""


def run_batch(name: str, seed: int, inputs: int, found: Path) -> BatchResult:
    """Runs a batch in a process of its own. found: the folder for inputs that are faults."""
    command = [sys.executable, "-m", "benchmarks.torture.fuzzing", name, str(seed), str(inputs), str(found)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=SECONDS * inputs + 600
    )
    try:
        result = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        kept = str(found / f"{name}-{seed}.input")
        return BatchResult(0, 0, Fault(name, seed, f"the process ended: {last}", kept))
    fault = result["fault"]
    return BatchResult(result["tried"], result["refused"], None if fault is None else Fault(**fault))


def _batch(target: FuzzTarget, seed: int, inputs: int, found: Path) -> BatchResult:
    """Runs a batch in this process, which must end afterwards."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    counts = {"tried": 0, "refused": 0}
    kept = found / f"{target.name}-{seed}.input"
    with tempfile.TemporaryDirectory(prefix="torture-") as box:

        @seeded(seed)
        @settings(
            max_examples=inputs,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(target.inputs(Path(box)))
        def read(data: bytes) -> None:
            kept.write_bytes(data)  # the one that ends the process is found there
            counts["tried"] += 1
            with _folder(Path(box)) as folder, _limited():
                try:
                    target.use(data, folder)
                except target.refusals:
                    counts["refused"] += 1

        try:
            read()
        except (Exception, ExceptionGroup) as error:
            what = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            return BatchResult(**counts, fault=Fault(target.name, seed, what, str(kept)))
    kept.unlink(missing_ok=True)
    return BatchResult(**counts, fault=None)


@contextmanager
def _folder(box: Path) -> Iterator[Path]:
    """An empty folder in the box. Raises _EscapedError when something is left beside it."""
    before = set(box.iterdir())
    with tempfile.TemporaryDirectory(dir=box) as folder:
        yield Path(folder)
        if escaped := set(box.iterdir()) - before - {Path(folder)}:
            raise _EscapedError(f"wrote {sorted(escaped)[0].name} outside of its folder")


@contextmanager
def _limited() -> Iterator[None]:
    """Raises _HungError in Python code after SECONDS; native code that takes three times as long ends the process."""

    def hung(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise _HungError(f"took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def main() -> None:
    name, seed, inputs, found = sys.argv[1:]
    target = next(each for each in TARGETS if each.name == name)
    print(json.dumps(asdict(_batch(target, int(seed), int(inputs), Path(found)))))


if __name__ == "__main__":
    main()
