"""Offline as a guarantee: while the switch is on, this process talks to nobody but this machine.

Python tells an audit hook (PEP 578) of every connection, datagram, listening socket and name lookup before it
happens, whichever library asks for it: httpx, urllib, huggingface_hub and asyncio all end there. The hook
refuses whatever is not a UNIX socket or loopback, and every look-up of a name but "localhost". It cannot be
taken off again; what turns it on and off is `switch`, which is the user's and which no library knows of.
Connections that were open when it is turned on are cut.

Two gaps that hooks leave are closed here as well. socket.connect(("name", 80)) looks the name up before the
hook hears of it, so the methods that take an address check it themselves; and a bare _socket.socket, which
would evade those, is refused as such.

What it cannot see is native code that opens sockets of its own accord. Of what we ship that is hf_xet (Rust, asked
only after huggingface_hub has reached its server through Python) and onnxruntime, whose builds report to their maker
unless a variable is set before they are loaded: models/ocr/reader.py sets it, offline or not. TVM's runtime and the
tokenizers open none. Nor does the hook reach into other programs. All are told by environment variables, which
programs started from here inherit. Tests trace the system calls of whole chats, and of reading a text online.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil

from models.core.errors import NeedsNetwork

VARIABLE = "EDGE_APP_OFFLINE"
NO = ("", "0", "f", "false", "n", "no", "off")
ENVIRONMENT = {
    VARIABLE: "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
INTERNET = (socket.AF_INET, socket.AF_INET6)
UNSAID = -1  # the family of a socket whose maker did not say
ON_THIS_MACHINE = tuple(
    getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)
)  # netlink: asking the kernel about itself
TAKE_AN_ADDRESS = {"connect": 0, "connect_ex": 0, "bind": 0, "sendto": -1, "sendmsg": 3}
"""Methods of a socket and which argument the address is."""


class Switch:
    """Whether the process is offline. The user's alone to turn, as often as they like; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_on = False
        self._is_watching = False
        self._before: dict[str, str | None] = {}

    @property
    def is_on(self) -> bool:
        return self._is_on

    def turn_on(self) -> None:
        """From here on nothing leaves, and what is connected is cut."""
        with self._lock:
            if self._is_on:
                return
            if not self._is_watching:
                _close_the_gaps(self)
                sys.addaudithook(_watcher(self))
                self._is_watching = True
            self._before = {name: os.environ.get(name) for name in ENVIRONMENT}
            os.environ.update(ENVIRONMENT)
            self._is_on = True
            _tell_the_hub(offline=True)
        _cut_connections()

    def turn_off(self) -> None:
        with self._lock:
            if not self._is_on:
                return
            self._is_on = False
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            _tell_the_hub(offline=os.environ.get("HF_HUB_OFFLINE", "").strip().lower() not in NO)

    def toggle(self) -> bool:
        """Turns it; whether it is on now."""
        if self._is_on:
            self.turn_off()
        else:
            self.turn_on()
        return self._is_on


switch = Switch()


def wanted_by_environment() -> bool:
    """Whether EDGE_APP_OFFLINE says so, for what runs before or without the settings."""
    return os.environ.get(VARIABLE, "").strip().lower() not in NO


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost by that name, or a loopback address. Looks up no name."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = address_of(host)
    return address is not None and address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, an IPv4-mapped IPv6 address as IPv4; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _watcher(own: Switch) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook. Called for every import, file and object that Python audits: it must be quick."""
    checks: dict[str, Callable[..., None]] = {
        "socket.__new__": _check_socket,
        "socket.connect": _check_peer,
        "socket.bind": _check_peer,
        "socket.sendto": _check_peer,
        "socket.sendmsg": _check_peer,
        "socket.getaddrinfo": _check_name,
        "socket.gethostbyname": _check_name,
        "socket.gethostbyaddr": _check_reverse,
        "socket.getnameinfo": lambda address: _check_reverse(address[0]),
    }

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if own.is_on and (check := checks.get(event)) is not None:
            check(*arguments)

    return watch


def _close_the_gaps(own: Switch) -> None:
    """Names given to these methods would be looked up before the hook is told."""

    def guarded(method: Callable[..., Any], position: int) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: socket.socket, *arguments: Any) -> Any:
            if own.is_on and len(arguments) > max(position, 0):
                _check_peer(self, arguments[position])
            return method(self, *arguments)

        return call

    for name, position in TAKE_AN_ADDRESS.items():
        if method := getattr(socket.socket, name, None):
            setattr(socket.socket, name, guarded(method, position))


def _check_socket(own: Any, family: int, *_: Any) -> None:
    if family in (*INTERNET, UNSAID) and not isinstance(own, socket.socket):
        raise _refusal("a socket of its own kind")


def _check_peer(own: Any, address: Any) -> None:
    """address: as Python takes them for the socket's family; None of a socket that is connected already."""
    if address is None or own.family in ON_THIS_MACHINE:
        return
    if own.family not in INTERNET or not is_loopback(_text(address[0])):
        raise _refusal(_described(address))


def _check_name(host: Any, *_: Any) -> None:
    """A number is not looked up, and none at all is this machine's every address (to listen at)."""
    if host is None or is_loopback(_text(host)) or address_of(_text(host)) is not None or not host:
        return
    raise _refusal(_text(host))


def _check_reverse(host: Any) -> None:
    """The name of an address: asked of the network unless it is our own."""
    if not is_loopback(_text(host)):
        raise _refusal(_text(host))


def _refusal(what: str) -> NeedsNetwork:
    return NeedsNetwork(
        f"The app is offline, and {what} is on the network; do it again without offline mode."
    )


def _described(address: Any) -> str:
    return (
        _text(address[0]) or "every address"
        if isinstance(address, tuple) and address
        else "what was asked for"
    )


def _text(host: Any) -> str:
    return bytes(host).decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _tell_the_hub(*, offline: bool) -> None:
    """huggingface_hub reads its variable once, when it is loaded; going online again must reach it too."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        vars(constants)["HF_HUB_OFFLINE"] = offline


def _cut_connections() -> None:
    """Shuts every connection of this process that leads off this machine, whoever holds it."""
    for connection in psutil.Process().net_connections("inet"):
        if not connection.raddr or connection.fd < 0 or is_loopback(connection.raddr.ip):
            continue
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as same:
            same.shutdown(socket.SHUT_RDWR)
