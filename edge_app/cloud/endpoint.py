"""The address of an endpoint: checks a URL without a connection or a name lookup."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_app.system.offline import address_of, is_loopback
from models.core.errors import UserError

DEFAULT_PATH = "/v1"
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Endpoint:
    """Made by `endpoint`. url: without a slash at the end. model: its name at the endpoint."""

    url: str
    model: str

    @property
    def hostname(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def host(self) -> str:
        """Host name, with the port when it is not the default one. Identifies the endpoint in consent and ledger."""
        parts = urlsplit(self.url)
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return name if parts.port in (None, PORTS[parts.scheme]) else f"{name}:{parts.port}"

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine."""
        return is_loopback(self.hostname)

    @property
    def noun(self) -> str:
        """What the endpoint is called in messages."""
        return "local server" if self.is_local else "cloud"

    def __str__(self) -> str:
        return f"the {self.noun} at {self.host}"


def endpoint(url: str, model: str) -> Endpoint:
    """A checked endpoint. An address without a path gets /v1.

    Raises UserError when the address is not http(s), when it has a user name, a query or a fragment (these may hold
    secrets, and addresses are logged), and when it is http to a host outside the local network.
    """
    text = url.strip()
    if any(sign in text for sign in "@?#"):  # first, because later messages repeat the text
        raise UserError(
            "The cloud address may hold no user name, password, query or fragment; the key is set separately."
        )
    try:
        parts = urlsplit(text)
        hostname, _ = parts.hostname, parts.port
    except ValueError:
        raise UserError(f"The cloud address {text!r} is not a web address.") from None
    if parts.scheme not in PORTS or not hostname or any(c.isspace() or not c.isprintable() for c in text):
        raise UserError(f"The cloud address {text!r} is not one like https://api.example.com/v1.")
    if parts.scheme == "http" and not _is_near(hostname):
        raise UserError(f"{text} is not encrypted; use https for anything outside your own network.")
    if not model.strip():
        raise UserError("The cloud model has no name; give the name that the endpoint knows it by.")
    path = parts.path.rstrip("/") or DEFAULT_PATH
    return Endpoint(f"{parts.scheme}://{parts.netloc}{path}", model.strip())


def _is_near(name: str) -> bool:
    """Whether the host is this machine, a private address, or a name that only a local network resolves."""
    address = address_of(name)
    if address is not None:
        return address.is_loopback or address.is_private or address.is_link_local
    return "." not in name or is_loopback(name) or name.endswith((".local", ".lan", ".internal"))
