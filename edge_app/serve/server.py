"""Runs the server: opens the sockets, says where it listens, and ends it cleanly at a signal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import uvicorn

from edge_app.serve.app import AssistantServer
from edge_app.system.offline import is_loopback
from models.core.errors import UserError

if TYPE_CHECKING:
    Address = tuple[socket.AddressFamily, str]

BACKLOG = 128
MOST_CONNECTIONS = 512
"""Connections at the same time, idle ones included; a further one gets status 503."""

LEAVING_SECONDS = 3
"""The longest wait for replies that are being sent when the server ends, and then for its engine."""

IDLE_SECONDS = 75
"""How long an idle connection is kept. Clients keep theirs shorter, so that none sends on a connection that closes."""


def resolve(host: str) -> tuple[Address, ...]:
    """The addresses of a host to listen on. Raises UserError when there are none, NeedsNetwork while offline."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"--host {host} is no address or name of this machine.") from None
    return tuple(dict.fromkeys((family, str(address[0])) for family, *_, address in found))


def all_loopback(addresses: Sequence[Address]) -> bool:
    """Whether only programs of this machine can reach the addresses."""
    return all(is_loopback(address.partition("%")[0]) for _, address in addresses)


def listen(addresses: Sequence[Address], port: int) -> list[socket.socket]:
    """Listening sockets, one for each address, all on one port; 0 takes a free one.

    Raises UserError when the port is taken or may not be used, and NeedsNetwork for other machines while offline.
    """
    opened: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, address in addresses:
            try:
                opened.append(_socket(family, address, port))
            except OSError as error:
                # A machine may have a name for an address that it lacks, such as ::1 without IPv6.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failure = error
                continue
            port = opened[-1].getsockname()[1]
        if not opened and failure is not None:
            raise failure
    except BaseException as error:
        for each in opened:
            each.close()
        if isinstance(error, OSError):
            raise UserError(_sentence(error, address, port)) from None
        raise
    return opened


def _socket(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where SO_REUSEADDR would share the port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _sentence(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {address} is taken by another program; --port N chooses another one."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} of {address} may not be used by this user; --port N chooses another one."
    return f"Cannot listen on port {port} of {address}: {error.strerror}."


def address_of(listening: socket.socket) -> str:
    """The base URL of a socket for clients."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


class HttpServer(uvicorn.Server):
    """uvicorn without its own handling of signals and its own log. `end` may be called from a signal handler.

    on_end: called on the event loop before the server waits for replies that are being sent.
    """

    def __init__(self, served: AssistantServer) -> None:
        config = uvicorn.Config(
            served.app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=LEAVING_SECONDS,
        )
        super().__init__(config)
        self._served = served

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to the caller."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._served.stop()
        await super().shutdown(sockets)

    def end(self) -> None:
        self.should_exit = True


def run(
    served: AssistantServer, server: HttpServer, sockets: list[socket.socket], begun: Callable[[], None]
) -> bool:
    """Serves until `server.end` is called. begun: called when requests are accepted.

    Returns whether the engine was freed in time. Otherwise the process must end without waiting for its threads; what
    they write has temporary names until it is whole.
    """

    async def serving() -> None:
        task = asyncio.create_task(server.serve(sockets))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        begun()
        served.load()
        await task

    try:
        asyncio.run(serving())
    finally:
        is_closed = served.close(LEAVING_SECONDS)
        for each in sockets:
            each.close()
    return is_closed
