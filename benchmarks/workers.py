"""Worker processes that take requests as JSON lines: both ends of the pipe.

A request is one line {"do": method, ...arguments}, a reply one line with a JSON object. A worker handles one request
at a time and blocks on stdin in between, so that it uses no processor time while another process is measured. An
error in the worker ends it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil


class WorkerError(RuntimeError):
    """A worker ended instead of replying. The message has its exit code and the last line of its stderr."""


class Worker:
    """The parent's end: a child process that replies to requests."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts the process.

        log: file for its stderr. environment: None for this process's own.
        """
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
        """Send a request and wait for its reply. Raises WorkerError when the process ends instead."""
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
            raise WorkerError(
                f"the process ended with {code} at {do!r}: {said[-1] if said else 'no message'}"
            )
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        """Close its stdin, and kill it if it does not end within 10 seconds."""
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


def serve(worker: Any) -> None:
    """The child's end: call the methods of `worker` that requests name, until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # other output goes to stderr, so that stdout has replies alone
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(getattr(worker, request.pop("do"))(**request)) + "\n")
