"""Kills commands with SIGKILL at random moments and looks whether everything that they had stored is whole."""

from __future__ import annotations

import os
import pty
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.torture.commands import KilledCommand, KilledRun, forget_copies, stores_are_whole

LONGEST_SECONDS = 60.0
"""A command that runs longer before it is killed for the first time is taken to run this long."""


class KillLoop:
    """Kills one command after another. home: EDGE_APP_HOME, with the default model pulled."""

    def __init__(self, home: Path, seed: int) -> None:
        self._home = home
        self._random = random.Random(seed)
        self._lengths: dict[str, float] = {}

    def round(self, command: KilledCommand) -> list[str]:
        """Starts a command and kills it. Returns the faults, as sentences."""
        if self._random.random() < 0.5:
            forget_copies(self._home, command.name)
        length = self._lengths.get(command.name)
        if length is None:
            length = self._lengths[command.name] = self._whole_length(command)
        run = self._run(command, self._random.uniform(0.0, length * 1.05))
        return [*command.check(self._home, run), *stores_are_whole(self._home)]

    def _whole_length(self, command: KilledCommand) -> float:
        """How long the command takes, in seconds. One that does not end by itself is ended after a while."""
        began = time.monotonic()
        endless = command.keys or command.while_running
        self._run(command, 15.0 if endless else LONGEST_SECONDS)
        return time.monotonic() - began

    def _run(self, command: KilledCommand, seconds: float) -> KilledRun:
        arguments = [sys.executable, "-m", "edge_app", *command.arguments(self._random)]
        environment = {**os.environ, "EDGE_APP_HOME": str(self._home), "TERM": "xterm-256color"}
        if command.keys:
            return _run_in_terminal(arguments, environment, command.keys, seconds)
        process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if command.while_running is not None:
            threading.Thread(target=_say_first_line, args=(process, command), daemon=True).start()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            ended = process.poll() is not None
            _kill(process)
            return KilledRun("", ended)
        try:
            shown, _ = process.communicate(timeout=seconds)
            return KilledRun(shown.decode("utf-8", "replace"), ended=process.returncode == 0)
        except subprocess.TimeoutExpired:
            _kill(process)
            shown, _ = process.communicate()
            return KilledRun(shown.decode("utf-8", "replace"), ended=False)


def _say_first_line(process: subprocess.Popen[bytes], command: KilledCommand) -> None:
    assert process.stderr is not None and command.while_running is not None
    for line in process.stderr:
        if b"http://" in line:
            command.while_running(line.decode("utf-8", "replace"))


def _run_in_terminal(
    arguments: Sequence[str], environment: dict[str, str], keys: Sequence[str], seconds: float
) -> KilledRun:
    """Runs a command in a terminal of its own, typing a text every two seconds, and kills it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        arguments, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    shown, typed, began = bytearray(), 0, time.monotonic()
    try:
        while (past := time.monotonic() - began) < seconds and process.poll() is None:
            if typed < len(keys) and past > 2.0 * (typed + 1):
                os.write(master, keys[typed].encode())
                typed += 1
            if select.select([master], [], [], 0.05)[0]:
                shown += os.read(master, 65536)
    except OSError:  # the terminal is closed: the command has ended
        pass
    ended = process.poll() is not None
    _kill(process)
    os.close(master)
    return KilledRun(shown.decode("utf-8", "replace"), ended)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
