"""Sends one request to an OpenAI-compatible endpoint and streams the answer, within limits, cancellable at once.

The `openai` client implements the protocol. This module limits it in time (connecting, first text, each next text,
total), in bytes and in slowness. The request runs on a thread of its own. Cancelling shuts its socket down, so that
the endpoint stops generating. One request is one attempt: there are no retries, no redirects and no consent here.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import edge_app
from edge_app.cloud.endpoint import Endpoint
from edge_app.cloud.errors import CloudError, NotAStreamError, explain, slow_to
from edge_app.cloud.key import Key
from edge_app.cloud.payload import Payload
from edge_app.cloud.protocol.answer_reader import AnswerReader, CloudDone, Piece
from edge_app.cloud.protocol.response_body import COMPRESSIONS, bounded_body, response_body
from edge_app.cloud.protocol.thinking import CloudText, CloudThinking
from edge_app.system.terminal_text import capitalised

POLL_SECONDS = 0.05
"""How often a waiting reader checks `cancel` and the limits."""

SENT_HEADERS = frozenset({"host", "connection", "accept", "content-type", "content-length"})
"""The headers that are sent. The library's others name the operating system, the processor and Python's version."""


@dataclass(frozen=True)
class Limits:
    """Limits of one request, in seconds unless stated otherwise.

    connect: for connecting. first: from sending to the first text. stall: between texts. total: from sending to end.
    What the model thinks before it answers counts as text here.
    least_rate: characters a second, on average since the first text; checked once slow_after seconds have passed.
    answer_bytes: bytes received, framing included (about 250 a token).
    """

    connect: float = 5.0
    first: float = 45.0
    stall: float = 20.0
    total: float = 180.0
    slow_after: float = 20.0
    least_rate: float = 2.0
    answer_bytes: int = 4_000_000


def stream(
    payload: Payload, key: Key | None, limits: Limits, cancel: threading.Event | None = None
) -> Generator[Piece, None, None]:
    """Sends the payload once and yields the pieces of the answer, CloudDone last.

    Raises CloudError (kind "cancelled" within 100 ms of cancel being set), NeedsNetwork when the process is
    offline. Closing the iterator early ends the request.
    """
    request = _Request(payload, key, limits)
    clock = _Clock(payload.endpoint, limits, request.began)
    threading.Thread(target=request.run, name="cloud request", daemon=True).start()
    begun = thought = False
    try:
        while True:
            if cancel is not None and cancel.is_set():
                raise CloudError("cancelled", "The answer was stopped.")
            try:
                received = request.pieces.get(timeout=POLL_SECONDS)
            except queue.Empty:
                clock.check()
                continue
            if isinstance(received, Exception):
                raise received
            if isinstance(received, CloudDone):
                if not begun:
                    raise CloudError("empty", _why_empty(payload, received, thought=thought))
                yield received
                return
            thought = thought or isinstance(received, CloudThinking)
            begun = begun or (isinstance(received, CloudText) and bool(received.text.strip()))
            yield received
            clock.received(received.text)
            clock.check()
    finally:
        request.cut()


def _why_empty(payload: Payload, done: CloudDone, *, thought: bool) -> str:
    """Why an answer has no word, as a sentence. thought: the model has thought."""
    at = capitalised(str(payload.endpoint))
    if done.stop_reason == "content_filter":
        return f"{at} gave no answer: its content filter ended it."
    if thought and done.stop_reason == "length":
        return f"{at} thought through all of the {payload.max_tokens} tokens; allow more (max_tokens)."
    if thought:
        return f"{at} thought about the question and gave no answer."
    return f"The answer of {payload.endpoint} has not a word in it."


class _Clock:
    """Checks the limits in time. began: set when the request is sent, so that loading the library does not count."""

    def __init__(self, endpoint: Endpoint, limits: Limits, began: threading.Event) -> None:
        self._endpoint, self._limits, self._began = endpoint, limits, began
        self._start: float | None = None
        self._first: float | None = None
        self._last = 0.0
        self._characters = 0

    def received(self, text: str) -> None:
        self._last = time.monotonic()
        self._first = self._last if self._first is None else self._first
        self._characters += len(text)
        streaming = self._last - self._first
        if streaming > self._limits.slow_after and self._characters / streaming < self._limits.least_rate:
            rate = f"{self._characters / streaming:.1f} characters a second"
            raise CloudError("slow", f"The answer of {self._endpoint} is too slow ({rate}); it was cut off.")

    def check(self) -> None:
        now, at, limits = time.monotonic(), str(self._endpoint), self._limits
        if self._start is None:
            if not self._began.is_set():
                return
            self._start = now
        if self._first is None and now - self._start > limits.first:
            raise slow_to(at, "begin its answer")
        if self._first is not None and now - self._last > limits.stall:
            raise slow_to(at, "go on with its answer")
        if now - self._start > limits.total:
            raise slow_to(at, "finish its answer")


class _Request:
    """The request's thread.

    pieces: what was received; an exception comes last. It has no object of the library, since these may hold the key.
    began: set when the request is sent.
    """

    def __init__(self, payload: Payload, key: Key | None, limits: Limits) -> None:
        self.pieces: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        self.began = threading.Event()
        self._payload, self._key, self._limits = payload, key, limits
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_cut = False
        self._has_text = False

    def cut(self) -> None:
        """Ends the connection, from any thread; a read that waits in `run` then fails."""
        with self._lock:
            self._is_cut = True
            for opened in self._sockets:
                _shut(opened)

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            try:
                told = explain(error, self._payload.endpoint, self._key, begun=self._has_text)
            except Exception as defect:  # for example when the library is not installed
                told = defect
            self.pieces.put(told)

    def _run(self) -> None:
        import openai

        with self._http() as http:
            if self._is_cut:  # stopped while the library was loading
                return
            self.began.set()
            # The key is added in _outgoing, so that no object of the library holds it.
            client = openai.OpenAI(
                base_url=self._payload.endpoint.url, api_key="unused", http_client=http, max_retries=0
            )
            chunks = client.post(
                "/chat/completions",
                content=self._payload.body,
                options={"headers": {"Content-Type": "application/json"}},
                cast_to=object,  # the JSON as it is; AnswerReader checks it
                stream=True,
                stream_cls=openai.Stream[object],
            )
            self._read(chunks)

    def _read(self, chunks: Any) -> None:
        reader = AnswerReader()
        for chunk in chunks:
            for piece in reader.read(chunk):
                self._has_text = True
                self.pieces.put(piece)
        for last in reader.end(is_whole=self._body.ends_with_done):
            self.pieces.put(last)

    def _http(self) -> Any:
        import httpx2

        limits = self._limits
        return httpx2.Client(
            follow_redirects=False,
            trust_env=not self._payload.endpoint.is_local,  # proxies; not for an endpoint on this machine
            timeout=httpx2.Timeout(max(limits.first, limits.stall) + 1.0, connect=limits.connect),
            event_hooks={"request": [self._outgoing], "response": [self._incoming]},
        )

    def _outgoing(self, request: Any) -> None:
        """Sets the headers that are sent, and has the socket recorded when it is opened."""
        for name in list(request.headers):
            if name.lower() not in SENT_HEADERS:
                del request.headers[name]
        request.headers["user-agent"] = f"edge-app/{edge_app.__version__}"
        request.headers["accept-encoding"] = "identity"  # so that answer_bytes limits the text
        if self._key is not None:
            request.headers["authorization"] = f"Bearer {self._key.reveal()}"
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            opened = details["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets.append(opened)
                if self._is_cut:
                    _shut(opened)

    def _incoming(self, response: Any) -> None:
        kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
        encoding, limit = self._encoding(response.headers), self._limits.answer_bytes
        if not response.is_success:
            response.stream = bounded_body(response.stream, limit, encoding)
            return
        self._body = response.stream = response_body(response.stream, kind, limit, encoding)

    @staticmethod
    def _encoding(headers: Any) -> str:
        """The compression of a response, empty for none; its header is removed, since it is unpacked here."""
        encoding = str(headers.get("content-encoding", "")).strip().lower().replace("identity", "")
        if encoding and encoding not in COMPRESSIONS:
            raise NotAStreamError(f"it is compressed as {encoding[:20]}, which was not asked for")
        headers.pop("content-encoding", None)
        return encoding


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        opened.shutdown(socket.SHUT_RDWR)
