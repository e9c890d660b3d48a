"""Child processes that are told what to do by JSON lines, one at a time. Knows nothing of what they do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil


class WorkerError(RuntimeError):
    """A worker ended instead of replying; what it said last is in the message."""


class Worker:
    """A process that answers {"do": name, ...} with one JSON object a line and sleeps in between."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """log: where its stderr goes. environment: None is this process's own."""
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self.process = psutil.Process(self._process.pid)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The reply. Raises WorkerError when the process ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            said = self._log.read_text(errors="replace").strip().splitlines()
            raise WorkerError(f"the process ended with {code} at {do!r}: {said[-1] if said else 'no words'}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
