"""`python -m benchmarks.serving.load`: several clients ask one `edge-app serve` for minutes, at the same time.

Every client sends its next question when the last is answered: texts and new photos, whole and streamed. Some go away
in the middle of an answer. Reported are errors, the answers of each client, how many other answers a request waited for
at most (those who came before, where the order is fair), and the memory, threads and open files of the server.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.speed import workload

PATH = "/v1/chat/completions"
SAMPLE_SECONDS = 5.0
LEAVES = 0.05
"""The share of requests whose client goes away after the first piece of the answer."""

QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "How many legs does a spider have?",
    "Write one sentence about the sea.",
)
PHOTO_QUESTIONS = ("What is in this picture?", "What colour is it?", "Where was this photo taken?")
PHOTO = (800, 600)  # width, height in pixels


@dataclass(frozen=True)
class Exchange:
    """One request. sent, ended: seconds since the start of the load. left: the client went away before the end."""

    client: int
    sent: float
    ended: float
    left: bool


@dataclass(frozen=True)
class ServerSample:
    """memory: resident megabytes of the server. files: open sockets and files."""

    seconds: float
    memory: float
    threads: int
    files: int


@dataclass
class Load:
    """What the clients did. errors: a sentence for each request that failed."""

    exchanges: list[Exchange] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    samples: list[ServerSample] = field(default_factory=list)

    def overtaken(self) -> int:
        """The most requests that came later than another and were answered before it."""
        whole = [each for each in self.exchanges if not each.left]
        return max(
            (sum(o.sent > each.sent and o.ended < each.ended for o in whole) for each in whole), default=0
        )

    def waited_for(self) -> int:
        """The most answers that came between a request and its answer."""
        ends = sorted(each.ended for each in self.exchanges)
        return max((sum(each.sent < end < each.ended for end in ends) for each in self.exchanges), default=0)


class LoadClient:
    """One client, on a thread of its own. started: `time.monotonic()` at the start of the load."""

    def __init__(self, number: int, port: int, load: Load, started: float, photos: float) -> None:
        self._number = number
        self._port = port
        self._load = load
        self._started = started
        self._photos = photos
        self._random = random.Random(number)

    def run(self, end: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        for turn in itertools.count():
            if end.is_set():
                break
            stream = self._random.random() < 0.5
            body = json.dumps(self._body(turn, stream=stream))
            sent = time.monotonic()
            try:
                left = self._ask(connection, body, stream=stream)
            except (OSError, http.client.HTTPException, ValueError, AssertionError) as error:
                self._load.errors.append(f"client {self._number}: {type(error).__name__}: {error}")
                left = True
            if left:
                connection.close()  # the next request opens another
            since = self._started
            self._load.exchanges.append(Exchange(self._number, sent - since, time.monotonic() - since, left))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, body: str, *, stream: bool) -> bool:
        """Asks one question. Returns whether the client went away."""
        connection.request("POST", PATH, body)
        reply = connection.getresponse()
        if reply.status != 200:
            raise ValueError(f"status {reply.status}: {reply.read().decode()}")
        if stream and self._random.random() < 2 * LEAVES:
            reply.readline()
            return True
        text = reply.read().decode()
        if stream:
            assert text.endswith("data: [DONE]\n\n") and '"error"' not in text, text[-300:]
        else:
            assert json.loads(text)["choices"][0]["finish_reason"] in ("stop", "length"), text
        return False

    def _body(self, turn: int, *, stream: bool) -> dict[str, Any]:
        content: Any = self._random.choice(QUESTIONS)
        if self._random.random() < self._photos:
            data = workload.photo(self._number * 100_000 + turn, *PHOTO)
            url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            content = [
                {"type": "text", "text": self._random.choice(PHOTO_QUESTIONS)},
                {"type": "image_url", "image_url": {"url": url}},
            ]
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 32, "stream": stream}


@contextmanager
def server(log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server with the user's models and adapters, and its port, when its model is ready. log: gets its stderr."""
    command = [sys.executable, "-m", "edge_app", "serve", "--port", "0"]
    with log.open("wb") as stderr:
        child = subprocess.Popen(command, stderr=stderr)
    try:
        yield child, _port(child, log)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)


def _port(child: subprocess.Popen[bytes], log: Path) -> int:
    while True:
        said = log.read_text("utf-8")
        found = re.search(r":(\d+)/v1", said)
        if found and "is ready" in said:
            return int(found[1])
        if child.poll() is not None:
            raise SystemExit(f"The server ended: {said}")
        time.sleep(0.05)


def sample(process: psutil.Process, seconds: float) -> ServerSample:
    return ServerSample(seconds, process.memory_info().rss / 1e6, process.num_threads(), process.num_fds())


def run(port: int, process: psutil.Process, clients: int, seconds: float, photos: float) -> Load:
    """The load on a server that is ready. photos: the share of questions with one."""
    load, end, started = Load(), threading.Event(), time.monotonic()
    threads = [
        threading.Thread(target=LoadClient(number, port, load, started, photos).run, args=(end,))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    while (now := time.monotonic() - started) < seconds:
        load.samples.append(sample(process, now))
        print(f"{now:4.0f} s, {load.samples[-1].memory:.0f} MB", end="\r", file=sys.stderr, flush=True)
        time.sleep(min(SAMPLE_SECONDS, seconds - now))
    end.set()
    for thread in threads:
        thread.join()
    print(file=sys.stderr)
    load.samples.append(sample(process, time.monotonic() - started))
    return load


def report(load: Load, clients: int) -> dict[str, Any]:
    """The figures by name."""
    answered = Counter(each.client for each in load.exchanges if not each.left)
    waits = [each.ended - each.sent for each in load.exchanges if not each.left]
    third = len(load.samples) // 3
    return {
        "clients": clients,
        "requests": len(load.exchanges),
        "clients that went away": sum(each.left for each in load.exchanges),
        "errors": len(load.errors),
        "answers of a client, fewest and most": [min(answered.values()), max(answered.values())],
        "answers that came between a request and its answer, most": load.waited_for(),
        "later requests that were answered before a request, most": load.overtaken(),
        "seconds until an answer, median and longest": [round(median(waits), 2), round(max(waits), 2)],
        "megabytes at the start, after a third, at the end": [
            round(load.samples[at].memory) for at in (0, third, -1)
        ],
        "threads, after a third and at the end": [load.samples[third].threads, load.samples[-1].threads],
        "open files, after a third and at the end": [load.samples[third].files, load.samples[-1].files],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.load", description=__doc__)
    parser.add_argument("--clients", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S")
    parser.add_argument(
        "--photos", type=float, default=0.5, metavar="SHARE", help="questions with a new photo"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "log") as (child, port):
        process = psutil.Process(child.pid)
        load = run(port, process, arguments.clients, arguments.seconds, arguments.photos)
    figures = report(load, arguments.clients)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name}: {value if isinstance(value, int) else ', '.join(map(str, value))}")
    for error in load.errors[:10]:
        print(error, file=sys.stderr)
    return 1 if load.errors else 0


if __name__ == "__main__":
    sys.exit(main())
