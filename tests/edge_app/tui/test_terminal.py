"""The chat in a terminal of its own, as `edge-app` opens it: a process and a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edge_app.storage.sessions import SessionStore
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, Wire, word

pytestmark = pytest.mark.slow


class Terminal:
    """A terminal that answers no questions. size: lines, columns; 0, 0 is one that does not know it."""

    def __init__(self, home: Path, size: tuple[int, int], **settings: str) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        environment = {**os.environ, "EDGE_APP_HOME": str(home), "EDGE_APP_OFFLINE": "1", "TERM": "xterm"}
        environment |= {f"EDGE_APP_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_app"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} was not shown: {self.shown[-3000:]!r}"
            if select.select([self._mine], [], [], 0.1)[0]:
                self.shown += os.read(self._mine, 65536).decode(errors="replace")

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def leave(self) -> int:
        """Reads on to the end: a process whose output nobody takes cannot end."""
        end = time.monotonic() + 240
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self._mine], [], [], 0.1)[0]:
                with suppress(OSError):  # how Linux says that the other end is closed
                    self.shown += os.read(self._mine, 65536).decode(errors="replace")
        os.close(self._mine)
        return self.process.wait(1)


@pytest.mark.parametrize("size", [(24, 80), (0, 0)])
def test_it_opens_says_that_the_model_is_missing_and_quits(home: Path, size: tuple[int, int]) -> None:
    terminal = Terminal(home, size)
    terminal.wait_for("Ask something")
    terminal.wait_for("offline")
    terminal.type("\x11")  # Ctrl+Q
    assert terminal.leave() == 0
    assert "Traceback" not in terminal.shown
    assert "\x1b[?1049l" in terminal.shown  # the screen that was there before is back


def test_quitting_while_a_server_answers_saves_what_came(home: Path) -> None:
    """Offline, without a model: a server on this machine is all there is."""

    def begin(wire: Wire) -> None:
        wire.send(STREAM, word("Tabby, I would "))
        wire.wait_until_gone(60)

    with Misbehaving(begin) as server:
        terminal = Terminal(
            home, (30, 100), cloud_url=server.url, cloud_model="big", cloud_key="sk-test", mode="quality"
        )
        terminal.wait_for("Ask something")
        terminal.type("What is this?\r")
        terminal.wait_for("Yes, this once")
        terminal.type("\x1b[B\r")  # down, enter
        terminal.wait_for("Tabby, I would")
        terminal.type("\x11")
        assert terminal.leave() == 0
    assert "Traceback" not in terminal.shown
    store = SessionStore.open()
    (turn,) = store.get(store.latest()).turns
    store.close()
    assert (turn.question, turn.status, turn.answer) == ("What is this?", "stopped", "Tabby, I would ")
