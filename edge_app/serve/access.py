"""Who may use the server: checks the Host, the Origin and the key of every request before anything else.

A web page that a user opens can make the browser send requests to this machine. Browsers add the header Origin or
Sec-Fetch-Site to such requests, so those are refused. With DNS rebinding a page makes its own host name point to this
machine, and the browser takes the server for the page's own; the header Host then has that name, so only names and
addresses of this machine are accepted.
"""

from __future__ import annotations

import hmac
import re
import socket
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_app.serve.errors import ApiError, as_json
from edge_app.system.offline import address_of, is_loopback
from models.core.errors import UserError

LEAST_KEY = 16
"""Characters of a key, at least."""

MOST_KEY_FILE = 65_536
"""Bytes of a key file, at most."""

OPEN_PATHS = ("/health",)
"""Paths that need no key, so that a supervisor can ask whether the server is up."""

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::[0-9]{0,5})?")
_KEY = re.compile(r"[!-~]+")  # printable ASCII without blanks: what fits into a header


def read_keys(file: Path) -> tuple[str, ...]:
    """The keys in a file, one a line; blank lines and lines that begin with # are left out.

    Raises UserError when the file cannot be read, has no key, or has one that is too short or does not fit a header.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_KEY_FILE + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UserError(f"The key file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The key file {file} is no text; write one key a line.") from None
    if len(data) > MOST_KEY_FILE:
        raise UserError(f"The key file {file} is longer than {MOST_KEY_FILE} bytes; write one key a line.")
    keys = tuple(key for line in text.splitlines() if (key := line.strip()) and not key.startswith("#"))
    if not keys:
        raise UserError(f"The key file {file} has no key; write one a line, for example random letters.")
    for number, key in enumerate(keys, 1):
        if len(key) < LEAST_KEY or not _KEY.fullmatch(key):
            raise UserError(
                f"Key {number} in {file} is no key: at least {LEAST_KEY} letters, digits or signs without blanks "
                "are needed."
            )
    return keys


def own_names(host: str) -> frozenset[str]:
    """The host names, in lower case, by which requests may call a server that listens on `host`."""
    names = {"localhost", host.lower().rstrip(".")}
    if not is_loopback(host):
        name = socket.gethostname().lower()
        names |= {name, f"{name}.local"}
    return frozenset(name for name in names if name)


class AccessGuard:
    """Passes a request on to `app` when it may be answered, and replies with 401 or 403 otherwise.

    names: host names that the header Host may have, beside IP addresses. loopback: whether the server listens on
    loopback addresses alone; the addresses must then be loopback addresses too. keys: accepted keys; empty accepts
    every request, whatever its Authorization.
    """

    def __init__(
        self, app: ASGIApp, *, names: frozenset[str], loopback: bool, keys: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._names = names
        self._loopback = loopback
        self._keys = tuple(key.encode() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = self._refusal(Headers(scope=scope), scope["path"])
            if error is not None:
                await reply_with_error(error, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, path: str) -> ApiError | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return ApiError(
                f"The host {host!r} is not this server's; call it by its address.",
                status=403,
                code="host_not_allowed",
            )
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            return ApiError(
                "Web pages may not use this server; call it from a program.",
                status=403,
                code="origin_not_allowed",
            )
        if self._keys and path not in OPEN_PATHS and not self._has_key(headers.get("authorization", "")):
            return ApiError(
                "This server needs a key: send the header Authorization: Bearer KEY.",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a Host header names this server. An IP address cannot be rebound by DNS."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match[1] or match[2]).lower().rstrip(".")
        address = address_of(name)
        if address is None:
            return name in self._names or name.endswith(".localhost")
        return not self._loopback or address.is_loopback

    def _has_key(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        given = key.strip().encode("utf-8", "replace")
        matches = [hmac.compare_digest(given, known) for known in self._keys]  # all, in constant time
        return scheme.lower() == "bearer" and any(matches)


async def reply_with_error(error: ApiError, send: Send) -> None:
    """Sends an error as the whole reply."""
    body = as_json(error.body())
    headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
