"""The offline switch: while it is on, this process cannot reach another machine.

Python calls an audit hook (PEP 578) before every connection, datagram, bind and name lookup of any library, httpx,
urllib, huggingface_hub and asyncio among them. The hook refuses everything but UNIX sockets and loopback addresses, and
the lookup of every name but "localhost". A hook cannot be removed, so it checks `switch` each time. Turning the switch
on also closes connections that are open.

Two gaps of audit hooks are closed as well. socket.connect(("name", 80)) resolves the name before the hook is called, so
the socket methods that take an address are wrapped and check it first. A bare _socket.socket would evade the wrappers,
so creating one is refused.

The hook does not see native code that opens sockets, nor other programs. Two dependencies have such code. hf_xet (Rust)
runs only after huggingface_hub has reached its server through Python. onnxruntime can send telemetry unless a variable
is set before it is loaded; models/ocr/reader.py always sets it. TVM's runtime and tokenizers open no sockets. The
variables in ENVIRONMENT disable the network in all of these, and child processes inherit them. Tests trace the system
calls of whole chats and of reading text online.
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
UNSPECIFIED = -1  # family of a socket that was created without one
ON_THIS_MACHINE = tuple(
    getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK") if hasattr(socket, name)
)  # AF_NETLINK sockets talk to the kernel
TAKE_AN_ADDRESS = {"connect": 0, "connect_ex": 0, "bind": 0, "sendto": -1, "sendmsg": 3}
"""Methods of a socket, each with the index of its address argument."""


class Switch:
    """The switch. It may be turned on and off any number of times, on any thread, by the user's choice alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_on = False
        self._is_watching = False
        self._before: dict[str, str | None] = {}

    @property
    def is_on(self) -> bool:
        return self._is_on

    def turn_on(self) -> None:
        """Refuses every connection to another machine from now on, and closes the open ones."""
        with self._lock:
            if self._is_on:
                return
            if not self._is_watching:
                _wrap_socket_methods(self)
                sys.addaudithook(_watcher(self))
                self._is_watching = True
            self._before = {name: os.environ.get(name) for name in ENVIRONMENT}
            os.environ.update(ENVIRONMENT)
            self._is_on = True
            _set_hub_offline(offline=True)
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
            _set_hub_offline(offline=os.environ.get("HF_HUB_OFFLINE", "").strip().lower() not in NO)

    def toggle(self) -> bool:
        """Changes the state of the switch. Returns whether it is on now."""
        if self._is_on:
            self.turn_off()
        else:
            self.turn_on()
        return self._is_on


switch = Switch()


def wanted_by_environment() -> bool:
    """Whether EDGE_APP_OFFLINE demands offline mode. For code that runs before the settings are loaded."""
    return os.environ.get(VARIABLE, "").strip().lower() not in NO


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: the name localhost or a loopback address. Resolves no names."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = address_of(host)
    return address is not None and address.is_loopback


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a string denotes; None for a name. An IPv4-mapped IPv6 address is returned as IPv4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def own_addresses() -> frozenset[str]:
    """The IP addresses of this machine's network interfaces, without the loopback ones."""
    found = {each.address for group in psutil.net_if_addrs().values() for each in group}
    return frozenset(each for each in found if (ip := address_of(each)) is not None and not ip.is_loopback)


def _watcher(own: Switch) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook. Python calls it for every audited event, imports and opened files among them, so it is short."""
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


def _wrap_socket_methods(own: Switch) -> None:
    """Makes the methods check the address first; they would resolve a name before the hook is called."""

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
    if family in (*INTERNET, UNSPECIFIED) and not isinstance(own, socket.socket):
        raise _refusal("an unchecked socket")


def _check_peer(own: Any, address: Any) -> None:
    """Allows sockets of this machine and loopback addresses. Raises NeedsNetwork for others.

    address: as Python takes it for the socket's family; None when the socket is connected already.
    """
    if address is None or own.family in ON_THIS_MACHINE:
        return
    if own.family not in INTERNET or not is_loopback(_text(address[0])):
        raise _refusal(_described(address))


def _check_name(host: Any, *_: Any) -> None:
    """Allows IP addresses, which need no lookup, and an empty host, which means all addresses of this machine."""
    if host is None or is_loopback(_text(host)) or address_of(_text(host)) is not None or not host:
        return
    raise _refusal(_text(host))


def _check_reverse(host: Any) -> None:
    """Allows the reverse lookup of loopback addresses only."""
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


def _set_hub_offline(*, offline: bool) -> None:
    """Sets the constant that huggingface_hub read from its variable at import, if it has been imported."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        vars(constants)["HF_HUB_OFFLINE"] = offline


def _cut_connections() -> None:
    """Shuts down every connection of this process to another machine, whichever library opened it."""
    own = own_addresses()
    for connection in psutil.Process().net_connections("inet"):
        if not connection.raddr or connection.fd < 0 or is_loopback(connection.raddr.ip):
            continue
        if connection.raddr.ip in own:
            continue
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fd)) as same:
            same.shutdown(socket.SHUT_RDWR)
