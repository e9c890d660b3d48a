"""A web server on the loopback interface that serves files with ranges, and can be set to fail."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class LoopbackServer:
    """Use as a context manager.

    files: content by path. requests: (path, Range header) of every request so far.
    statuses: HTTP statuses of the next requests, one each. cuts: how many bytes of the body the next answers
    send before the connection is closed. ranges: whether Range is honoured. pause: seconds between pieces.
    redirects: new paths, by path. links: the header Link, by path.
    stalls: files are answered with their first 64 KiB, and then nothing more.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.cuts: list[int] = []
        self.redirects: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.ranges = True
        self.pause = 0.0
        self.stalls = False
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients are killed here
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add_json(self, path: str, content: object) -> None:
        self.files[path] = json.dumps(content).encode()
        self.types[path] = "application/vnd.pypi.simple.v1+json"

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # the base class's way of naming
                owner.requests.append((self.path, self.headers.get("Range", "")))
                owner.headers.append(dict(self.headers))
                content = owner.files.get(self.path)
                if self.path in owner.redirects:
                    self.send_response(302)
                    self.send_header("Location", owner.redirects[self.path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if owner.statuses or content is None:
                    self.send_response(owner.statuses.pop(0) if owner.statuses else 404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self._send(content)

            def _send(self, content: bytes) -> None:
                wanted = self.headers.get("Range", "") if owner.ranges else ""
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first or 0), int(last) + 1 if last else len(content)
                if start >= len(content) and wanted:
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body = content[start:end]
                self.send_response(206 if wanted else 200)
                if wanted:
                    self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(content)}")
                self.send_header("Content-Type", owner.types.get(self.path, "application/octet-stream"))
                self.send_header("Content-Length", str(len(body)))
                if self.path in owner.links:
                    self.send_header("Link", owner.links[self.path])
                self.end_headers()
                if owner.cuts and self.path not in owner.types:
                    self.wfile.write(body[: owner.cuts.pop(0)])
                    self.wfile.flush()
                    self.close_connection = True
                    return
                for begin in range(0, len(body), 1 << 16):
                    self.wfile.write(body[begin : begin + (1 << 16)])
                    if owner.stalls and self.path not in owner.types:
                        owner._over.wait()
                        self.close_connection = True
                        return
                    time.sleep(owner.pause)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
