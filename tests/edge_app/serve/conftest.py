"""A server in this process over a scripted engine, on a real socket of loopback."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from edge_app.serve import server
from edge_app.serve.app import AssistantServer, ServeOptions
from edge_app.settings import Settings
from tests.edge_app.fakes import FakeEngine

ENDPOINT = "/v1/chat/completions"


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The objects of an event stream, without the mark at its end."""
        lines = self.body.decode().split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""], lines
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-2] if line.startswith("data: ")]


@dataclass
class Served:
    """A running server. served: what it serves."""

    port: int
    served: AssistantServer

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        connection = self.connect()
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, headers or {})
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def ask(self, question: str = "Hi, what is this?", **parameters: Any) -> Reply:
        messages = [{"role": "user", "content": question}]
        return self.request("POST", ENDPOINT, {"model": "auto", "messages": messages, **parameters})


@contextmanager
def running(settings: Settings, options: ServeOptions, engine: FakeEngine) -> Iterator[Served]:
    """A server that listens until the context ends."""
    sockets = server.listen(server.resolve("127.0.0.1"), 0)
    served = AssistantServer(settings, options, lambda _: None, engine.load)
    http_server, begun = server.HttpServer(served), threading.Event()
    thread = threading.Thread(target=server.run, args=(served, http_server, sockets, begun.set))
    port = sockets[0].getsockname()[1]
    thread.start()
    try:
        assert begun.wait(240)
        yield Served(port, served)
    finally:
        http_server.end()
        thread.join(240)
        assert not thread.is_alive()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


Serve = Callable[..., Served]


@pytest.fixture
def serve(home: object, engine: FakeEngine) -> Iterator[Serve]:
    """Starts servers over the scripted engine: options are those of ServeOptions, `settings` those of the app."""
    del home
    with ExitStack() as stack:

        def start(settings: Settings | None = None, **options: Any) -> Served:
            given = ServeOptions(**{"host": "127.0.0.1", "loopback": True, **options})
            return stack.enter_context(running(settings or Settings(adapter="none"), given, engine))

        yield start
