"""`python -m benchmarks.serving.load`: several clients ask one `edge-app serve` for minutes, at the same time.

Every client sends its next question when the last is answered: texts, new photos and new pages, whole and streamed.
Some go away in the middle of an answer. Reported are errors, the answers of each client, how many other answers a
request waited for at most (those who came before, where the order is fair), and the memory, threads and open files of
the server. Before the load, one client goes away from questions about pages at random moments: reported is how much
later than usual the next short question is answered.
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
from collections.abc import Iterator, Sequence
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
PAGE_QUESTIONS = ("What is the total?", "Who sold this?")
PHOTO_QUESTIONS = ("What is in this picture?", "What colour is it?", "Where was this photo taken?")
LEAVES_WITHIN = 1.5
"""Seconds within which a client goes away from a question about a page, about as long as its answer takes."""

PHOTO = (800, 600)  # width, height in pixels


@dataclass(frozen=True)
class Shares:
    """Of the questions, those with a new photo and those with a new page, 0..1."""

    photos: float
    pages: float


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

    def __init__(self, number: int, port: int, load: Load, started: float, shares: Shares) -> None:
        self._number = number
        self._port = port
        self._load = load
        self._started = started
        self._shares = shares
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
        drawn, seed = self._random.random(), self._number * 100_000 + turn
        if drawn < self._shares.photos:
            content = self._about_image("jpeg", workload.photo(seed, *PHOTO), PHOTO_QUESTIONS)
        elif drawn < self._shares.photos + self._shares.pages:
            content = self._about_image("png", workload.till_receipt(seed), PAGE_QUESTIONS)
        return {"messages": [{"role": "user", "content": content}], "max_tokens": 32, "stream": stream}

    def _about_image(self, kind: str, data: bytes, questions: Sequence[str]) -> list[dict[str, Any]]:
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return [
            {"type": "text", "text": self._random.choice(questions)},
            {"type": "image_url", "image_url": {"url": url}},
        ]


class LeavingClient:
    """One client alone, that goes away from questions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._random = random.Random(0)

    def delays(self, count: int) -> list[float]:
        """Seconds that a short question waits after a client has left, beyond what it takes usually, by moment."""
        usual = median(self._short() for _ in range(5))
        return [max(0.0, self._after_leaving(number) - usual) for number in range(count)]

    def _after_leaving(self, number: int) -> float:
        page = base64.b64encode(workload.till_receipt(10_000_000 + number)).decode()
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{page}"}}
        content = [{"type": "text", "text": "What is the total?"}, image]
        leaving = self._send(content, 64)
        time.sleep(self._random.uniform(0.0, LEAVES_WITHIN))
        leaving.close()
        return self._short()

    def _short(self) -> float:
        started = time.monotonic()
        connection = self._send("Hi", 1)
        connection.getresponse().read()
        connection.close()
        return time.monotonic() - started

    def _send(self, content: Any, tokens: int) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        body = {"messages": [{"role": "user", "content": content}], "max_tokens": tokens}
        connection.request("POST", PATH, json.dumps(body))
        return connection


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
    """Memory (MB), threads and open files of the server after so many seconds."""
    return ServerSample(seconds, process.memory_info().rss / 1e6, process.num_threads(), process.num_fds())


def run(port: int, process: psutil.Process, clients: int, seconds: float, shares: Shares) -> Load:
    """The load on a server that is ready."""
    load, end, started = Load(), threading.Event(), time.monotonic()
    threads = [
        threading.Thread(target=LoadClient(number, port, load, started, shares).run, args=(end,))
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
    minutes = [0.0, *range(60, int(load.samples[-1].seconds), 60), load.samples[-1].seconds]
    return {
        "clients": clients,
        "requests": len(load.exchanges),
        "clients that went away": sum(each.left for each in load.exchanges),
        "errors": len(load.errors),
        "answers of a client, fewest and most": [min(answered.values()), max(answered.values())],
        "answers that came between a request and its answer, most": load.waited_for(),
        "later requests that were answered before a request, most": load.overtaken(),
        "seconds until an answer, median and longest": [round(median(waits), 2), round(max(waits), 2)],
        "megabytes at the start, after each minute and at the end": [
            round(min(load.samples, key=lambda each: abs(each.seconds - minute)).memory) for minute in minutes
        ],
        "threads, after a third and at the end": [load.samples[third].threads, load.samples[-1].threads],
        "open files, after a third and at the end": [load.samples[third].files, load.samples[-1].files],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.load", description=__doc__)
    parser.add_argument("--clients", type=int, default=8, metavar="N")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="S")
    parser.add_argument(
        "--photos", type=float, default=0.4, metavar="SHARE", help="questions with a new photo (0.4)"
    )
    parser.add_argument(
        "--pages", type=float, default=0.1, metavar="SHARE", help="questions with a new page of text (0.1)"
    )
    parser.add_argument(
        "--leave", type=int, default=20, metavar="N", help="clients that go away before the load (20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    shares = Shares(arguments.photos, arguments.pages)
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "log") as (child, port):
        process = psutil.Process(child.pid)
        delays = LeavingClient(port).delays(arguments.leave)
        load = run(port, process, arguments.clients, arguments.seconds, shares)
    figures = report(load, arguments.clients)
    if delays:
        figures["seconds until an answer stops after its client left, median and longest"] = [
            round(median(delays), 2),
            round(max(delays), 2),
        ]
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
