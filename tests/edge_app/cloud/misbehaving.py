"""An endpoint on the loopback interface that answers as each test scripts it, down to the bytes."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_app.cloud.endpoint import Endpoint, endpoint

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    def fields(self) -> Any:
        return json.loads(self.body)


Script = Callable[["Wire"], None]


@dataclass
class Wire:
    """The server's end of a connection. gone: set when the client has closed its end."""

    connection: socket.socket
    gone: threading.Event = field(default_factory=threading.Event)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.sendall(piece)

    def words(self, *words: str) -> None:
        self.send(*(word(text) for text in words))

    def wait_until_gone(self, seconds: float = 240.0) -> None:
        """Reads until the client closes its end."""
        self.connection.settimeout(seconds)
        try:
            while self.connection.recv(1024):
                pass
        except OSError:
            return
        self.gone.set()


def event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def word(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def end(prompt: int = 11, completion: int = 3, reason: str = "stop") -> bytes:
    return (
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        + event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})
        + b"data: [DONE]\n\n"
    )


def answers(*words: str) -> Script:
    return lambda wire: wire.send(STREAM, *(word(text) for text in words), end())


def status(code: int, body: object = None, **headers: str) -> Script:
    content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    lines = [f"HTTP/1.1 {code} Status", "Content-Type: application/json", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return lambda wire: wire.send("\r\n".join([*lines, "Connection: close", "", ""]).encode() + content)


class Misbehaving:
    """Use as a context manager.

    scripts: for the next requests, in order; the last one also serves all later requests. requests: all received
    requests. wires: their connections.
    """

    def __init__(self, *scripts: Script, certificate: tuple[Path, Path] | None = None) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.wires: list[Wire] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._tls = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def endpoint(self) -> Endpoint:
        return endpoint(self.url, "big-model")

    def __enter__(self) -> Misbehaving:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in self.wires:
            wire.connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                request = self._receive(connection)
                self.requests.append(request)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                wire = Wire(connection)
                self.wires.append(wire)
                script(wire)
        except (OSError, ValueError, IndexError):  # the client hung up, or speaks TLS to a plain server
            pass

    @staticmethod
    def _receive(connection: socket.socket) -> Request:
        with connection.makefile("rb") as file:
            path = file.readline().split()[1].decode()
            headers: dict[str, str] = {}
            while line := file.readline().strip().decode():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            return Request(path, headers, file.read(int(headers.get("content-length", "0"))))


@contextmanager
def full_backlog() -> Iterator[str]:
    """The address of a server that neither takes nor refuses any further connection: http://127.0.0.1:port."""
    with ExitStack() as stack:
        full, *others = (stack.enter_context(socket.socket()) for _ in range(4))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file
