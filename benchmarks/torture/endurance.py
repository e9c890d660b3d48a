"""Memory under load: a server that answers mixed questions, and a chat whose adapters change, for as long as asked."""

from __future__ import annotations

import base64
import json
import os
import pty
import random
import select
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.torture.commands import QUESTIONS

ADAPTERS = ("auto", "none", "receipts", "shapes", "charts")
SETTLED = 10.0 / 60.0
"""The share of the time after which memory has to stay where it is: ten minutes of an hour."""

MOST_GROWTH = 0.05
"""Memory counts as flat when the median of the last tenth is at most this much above that after SETTLED."""

SAMPLE_SECONDS = 2.0

QUESTIONS_OF_CHAT = 20
"""Of the chat under load, before it begins a new one."""

PLACEHOLDER = b"Ask something"
"""What the prompt of an open chat shows."""

CLEAR = b"\x03"
"""Ctrl+C, which stops an answer or clears the prompt."""

POLL_SECONDS = 0.5
"""How often it is looked whether the chat has answered."""

ENTER = b"\r"
ENTER_SECONDS = 10.0
"""After which a question is sent again that the chat refused: an answer is saved a little before the chat is ready."""

ANSWER_SECONDS = 180.0
"""A question that is not answered by then is lost, and the next one is asked."""


@dataclass(frozen=True)
class MemoryCurve:
    """Resident memory of a process under load. megabytes: one sample every SAMPLE_SECONDS. questions: answered."""

    name: str
    questions: int
    errors: int
    megabytes: tuple[float, ...]

    @property
    def settled(self) -> float:
        """The median of a tenth of the samples after SETTLED, in MB."""
        return _median(self._tenth(SETTLED))

    @property
    def last(self) -> float:
        """The median of the last tenth of the samples, in MB."""
        return _median(self._tenth(0.9))

    @property
    def is_flat(self) -> bool:
        return self.last <= self.settled * (1 + MOST_GROWTH)

    def _tenth(self, begin: float) -> tuple[float, ...]:
        first = int(begin * len(self.megabytes))
        return self.megabytes[first : first + max(1, len(self.megabytes) // 10)]


def serve_under_load(home: Path, pages: Path, seconds: float, seed: int) -> MemoryCurve:
    """A server that is asked by three clients at once, with and without images, as every adapter and as auto."""
    random_ = random.Random(seed)
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_app", "serve", "--port", "0"],
        env={**os.environ, "EDGE_APP_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    address = _address(process.stderr.readline)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    counts = {"questions": 0, "errors": 0}
    images = [base64.b64encode(page.read_bytes()).decode() for page in sorted(pages.iterdir())]
    until = time.monotonic() + seconds

    def client(chosen: random.Random) -> None:
        while time.monotonic() < until:
            parts: list[object] = [{"type": "text", "text": chosen.choice(QUESTIONS)}]
            if chosen.random() < 0.8:
                url = f"data:image/png;base64,{chosen.choice(images)}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            body = {
                "model": chosen.choice(ADAPTERS[:1] + ADAPTERS[2:]),
                "messages": [{"role": "user", "content": parts}],
                "max_tokens": 24,
            }
            request = urllib.request.Request(
                f"{address}/v1/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=300) as reply:
                    reply.read()
                counts["questions"] += 1
            except OSError:
                counts["errors"] += 1

    clients = [threading.Thread(target=client, args=(random.Random(random_.random()),)) for _ in range(3)]
    for each in clients:
        each.start()
    samples = _memory(process.pid, lambda: any(each.is_alive() for each in clients))
    process.terminate()
    process.wait()
    return MemoryCurve("serve", counts["questions"], counts["errors"], samples)


def chat_under_load(home: Path, pages: Path, seconds: float, seed: int) -> MemoryCurve:
    """A chat in a terminal of its own that is asked about one image after another, each time with another adapter.

    A question follows when the one before it has ended. A question that was not answered counts as an error. All keys
    of a question and of the commands before it are written at once.
    """
    random_ = random.Random(seed)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_app"],
        env={**os.environ, "EDGE_APP_HOME": str(home), "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    turns, until = _Turns(home / "data" / "sessions.db"), time.monotonic() + seconds
    asked = lost = 0

    def ask() -> None:
        lines = ["/new"] if asked % QUESTIONS_OF_CHAT == 0 else []
        lines.append(f"/adapter {random_.choice(ADAPTERS)}")
        lines.append(f"{random_.choice(QUESTIONS)} @{random_.choice(sorted(pages.iterdir()))}")
        os.write(master, b"".join(line.encode() + ENTER for line in lines))

    def drive() -> None:
        nonlocal asked, lost
        asked_at = entered_at = time.monotonic()
        look_at, is_open = 0.0, False
        while time.monotonic() < until and process.poll() is None:
            if select.select([master], [], [], POLL_SECONDS)[0]:
                is_open |= PLACEHOLDER in os.read(master, 65536)
            if not is_open or time.monotonic() < look_at:
                continue
            look_at = time.monotonic() + POLL_SECONDS
            late = time.monotonic() - asked_at > ANSWER_SECONDS
            if late or turns.ended() >= asked - lost:
                if late:
                    lost += 1
                    os.write(master, CLEAR)
                asked, asked_at = asked + 1, time.monotonic()
                entered_at = asked_at
                ask()
            elif turns.begun() < asked - lost and time.monotonic() - entered_at > ENTER_SECONDS:
                entered_at = time.monotonic()
                os.write(master, ENTER)

    driver = threading.Thread(target=drive)
    driver.start()
    samples = _memory(process.pid, driver.is_alive)
    died = process.poll() is not None
    process.kill()
    process.wait()
    os.close(master)
    complete = turns.ended("complete")
    return MemoryCurve("chat", complete, died + lost + turns.ended() - complete, samples)


class _Turns:
    """The turns that are saved from now on. file: the database of sessions, which is there already."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._first = 1 + self._one("SELECT coalesce(max(id), 0) FROM turns")

    def begun(self) -> int:
        return self._one(f"SELECT count(*) FROM turns WHERE id >= {self._first}")

    def ended(self, status: str = "") -> int:
        """How many have ended, in any way or with this status."""
        wanted = f"status = '{status}'" if status else "status <> 'answering'"
        return self._one(f"SELECT count(*) FROM turns WHERE id >= {self._first} AND {wanted}")

    def _one(self, query: str) -> int:
        with closing(sqlite3.connect(self._file, timeout=60)) as connection:
            return int(connection.execute(query).fetchone()[0])


def _address(line: Callable[[], str]) -> str:
    """The address in what the server says at its start. Raises RuntimeError when it ends without saying one."""
    while said := line():
        for word in said.split():
            if word.startswith("http://"):
                return word.rstrip("/.,").removesuffix("/v1")
    raise RuntimeError("the server ended before it listened")


def _memory(pid: int, running: Callable[[], bool]) -> tuple[float, ...]:
    """Resident memory of a process in MB, sampled while `running` says so."""
    process, samples = psutil.Process(pid), []
    while running():
        try:
            samples.append(process.memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            break
        time.sleep(SAMPLE_SECONDS)
    return tuple(samples or [0.0])


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
