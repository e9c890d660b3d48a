"""Downloads one file whose size and sha256 are known. Resumes a partial download and retries after errors.

huggingface_hub has a downloader, but it fetches from its own hub alone, takes the expected size from the server, and
does not hash what it has downloaded. Package indexes need a downloader anyway.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from models.core.errors import NeedsNetwork, UserError
from models.core.files import file_digest, sync_directory
from models.hub.catalog import Pin

ATTEMPTS = 4  # consecutive requests that bring no new byte
FIRST_PAUSE = 0.5  # seconds; doubles with every attempt
TIMEOUT = httpx.Timeout(30.0, connect=10.0)

HUB = "https://huggingface.co"
"""The hub's address where HF_ENDPOINT gives none."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Received = Callable[[int], None]
"""Called with the number of bytes of the file that have been received so far."""


class OriginAuth(httpx.Auth):
    """Sends the user and password of an address to the server of that address alone."""

    def __init__(self, address: str) -> None:
        """address: http(s)://user:password@host/…. Without a user in it nothing is sent."""
        url = httpx.URL(address)
        self._origin = origin_of(url)
        self._basic = httpx.BasicAuth(url.username, url.password) if url.userinfo else None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        given = "Authorization" in request.headers
        if self._basic is not None and not given and origin_of(request.url) == self._origin:
            yield from self._basic.auth_flow(request)
        else:
            yield request


def origin_of(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a server is known by. port: None for the scheme's own."""
    return url.scheme, url.host, url.port


def without_user(address: str) -> str:
    """The address without user and password, to be shown and logged."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*@", lambda match: f"{match[1] or ''}//", address)


class _TransientError(Exception):
    """An error after which another attempt may succeed."""


def open_client(server: str) -> httpx.Client:
    """An HTTP client that uses the environment's proxies and certificates.

    server: an address. A user and password in it are sent there in a header and are part of no request's address,
    so that messages and logs do not show them.
    """
    headers = {"Accept-Encoding": "identity"}
    return httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers=headers, auth=OriginAuth(server))


@contextmanager
def secure_client(server: str, shown: str) -> Iterator[httpx.Client]:
    """As `open_client`, for addresses that a user gives: refuses requests outside https, except to this machine.

    shown: the address without its password. Raises UserError, also inside the block for an address that is none.
    """

    def check(request: httpx.Request) -> None:  # called for redirects too
        local = request.url.scheme == "http" and request.url.host in _LOOPBACK
        if request.url.scheme != "https" and not local:
            raise UserError(f"{shown} is not, or does not stay, an https address; only those are fetched.")

    try:
        with open_client(server) as client:
            client.event_hooks = {"request": [check], "response": []}
            yield client
    except httpx.InvalidURL:
        raise UserError(f"{shown} is no address; correct it.") from None


@contextmanager
def hub_client() -> Iterator[tuple[httpx.Client, str]]:
    """A client for the Hugging Face hub and the hub's address, which HF_ENDPOINT may name.

    The user's token, if there is one, goes with every request to the hub's server. Raises UserError for an HF_ENDPOINT
    that is no https address, as `secure_client` does.
    """
    from huggingface_hub import get_token  # imported here, because the import takes half a second

    given = os.environ.get("HF_ENDPOINT") or HUB
    address = without_user(given).rstrip("/")
    with secure_client(given, address) as client:
        if token := get_token():
            client.headers["Authorization"] = f"Bearer {token}"
        yield client, address


def download(client: httpx.Client, url: str, pin: Pin, target: Path, received: Received) -> None:
    """Fetch url into target, checked and synced.

    Until it is complete, the file is named target + ".part". A partial file is kept after any error, and the next
    call resumes it. received: see Received.
    Raises NeedsNetwork when the server cannot be reached, and UserError when it has no such file or the file is not
    the pinned one.
    """
    part = target.with_name(target.name + ".part")
    for _ in range(2):  # a resumed part may be of another file: then download it once more
        resumed = _fetch(client, url, pin, part, received)
        if file_digest(part) == pin.sha256:
            _settle(part, target)
            return
        part.unlink()
        if not resumed:
            break
    raise UserError(f"{url} is not the file that was expected (its sha256 differs); try again.")


def retried(action: Callable[[], httpx.Response], what: str) -> httpx.Response:
    """Make a request up to ATTEMPTS times. Raises NeedsNetwork when all fail, and UserError for a status 4xx."""
    pauses = _pauses()
    while True:
        try:
            response = action()
            check_status(response, what)
            return response
        except (httpx.RequestError, _TransientError) as error:
            _pause_or_give_up(pauses, what, error, ".")


def check_status(response: httpx.Response, what: str) -> None:
    """Raise UserError, or _TransientError when another attempt may succeed, unless the status is a success."""
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        raise _TransientError(f"it answered {status}")
    if not response.is_success:
        raise UserError(
            f"{what} could not be downloaded: the server answered {status} {response.reason_phrase}".rstrip()
        )


def _fetch(client: httpx.Client, url: str, pin: Pin, part: Path, received: Received) -> bool:
    """Download the rest of the part. Returns whether it had any bytes before."""
    start = part.stat().st_size if part.exists() else 0
    if start > pin.size:
        part.unlink()
        start = 0
    have, pauses = start, _pauses()
    while have < pin.size:
        try:
            _append(client, url, pin, part, received)
            problem: Exception = _TransientError("it sent less than it announced")
        except (httpx.RequestError, _TransientError) as error:
            problem = error
        now = part.stat().st_size if part.exists() else 0
        if now < pin.size:
            pauses = pauses if now <= have else _pauses()
            _pause_or_give_up(pauses, url, problem, ": what was downloaded so far is kept")
        have = now
    received(pin.size)
    return start > 0


def _append(client: httpx.Client, url: str, pin: Pin, part: Path, received: Received) -> None:
    """Make one request for the missing bytes and append them to the part."""
    have = part.stat().st_size if part.exists() else 0
    ranged = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=ranged) as response:
        if response.status_code == 416:
            part.unlink()
            raise _TransientError("it does not have as many bytes")
        check_status(response, url)
        if not _continues(response, have):
            have = 0
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in response.iter_raw():
                have += len(chunk)
                if have > pin.size:
                    raise UserError(
                        f"{url} is longer than the {pin.size} bytes that are expected; not downloaded"
                    )
                file.write(chunk)
                received(have)


def _continues(response: httpx.Response, have: int) -> bool:
    """Whether the body begins where the part ends. A server may ignore the range and send the whole file."""
    content_range = response.headers.get("Content-Range", "")
    return have > 0 and response.status_code == 206 and content_range.startswith(f"bytes {have}-")


def _settle(part: Path, target: Path) -> None:
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    part.replace(target)
    sync_directory(target.parent)


def _pauses() -> Iterator[float]:
    return (FIRST_PAUSE * 2**attempt for attempt in range(ATTEMPTS - 1))


def _pause_or_give_up(pauses: Iterator[float], what: str, error: Exception, end: str) -> None:
    """Sleep until the next attempt. Raises NeedsNetwork after the last one. end: of its message."""
    pause = next(pauses, None)
    if pause is None:
        host = httpx.URL(what).host if "://" in what else what
        raise NeedsNetwork(
            f"{host} cannot be reached ({_reason(error)}); check the network and try again{end}"
        ) from None
    time.sleep(pause)


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
