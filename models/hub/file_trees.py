"""The files of a model where they are published: a Hugging Face repository at one commit, or this machine.

Both list files with their sizes, and read what has to be known before a download: whole small files, and the headers
of files of weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import httpx

from models.core.errors import UserError
from models.hub.catalog import CatalogFile, HubSource, Pin, safe_file_name
from models.hub.download import hub_client, origin_of, retried

MOST_LISTING = 32 << 20  # bytes of the hub's answer
MOST_SMALL = 64 << 20  # bytes of a file that is not kept by its sha256 on the hub
MOST_PAGES = 100  # of a listing
MOST_FILE = 1 << 50  # bytes; no file of a model is larger
HEADERS = (4 << 20, 24 << 20)
"""Bytes of a file of weights that are read to see its header, one after the other: in a GGUF file 4 MB have the
vocabulary of 50,000 tokens with their merges."""

_HUB = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


Opened = TypeVar("Opened")


class FileTree(Protocol):
    """Published files.

    where: names them in errors. origin: a source that gives them again. name: a name for the model.
    licence: as the publisher states it. sizes: bytes by path, with "/" between folders.
    contents: of files that were downloaded whole already, by path.
    """

    where: str
    origin: str
    name: str
    licence: str
    sizes: Mapping[str, int]

    @property
    def contents(self) -> Mapping[str, bytes]: ...

    def read(self, path: str) -> bytes:
        """A whole small file. Raises UserError, and NeedsNetwork."""
        ...

    def header(self, path: str, folder: Path, opened: Callable[[Path], Opened]) -> Opened:
        """A file of weights whose header can be read, and whose tensors cannot.

        folder: for temporary files. opened: opens a file of this form, and raises UserError when its header is damaged.
        """
        ...

    def catalog_file(self, role: str, path: str) -> CatalogFile:
        """The file with its size, sha256 and source."""
        ...


@dataclass(frozen=True)
class _Published:
    """A file of a repository. sha256: None for a small file, which has blob, git's digest of its content, alone."""

    size: int
    sha256: str | None
    blob: str


_MAIN = "main"
"""The branch of a source without a revision."""


def hub_repository(source: str) -> tuple[str, str]:
    """The repository and the revision in hf:owner/repository[@revision]; main without one. Raises UserError."""
    match = _HUB.fullmatch(source)
    if match is None:
        raise UserError(f"{source!r} is not of the form hf:owner/repository or hf:owner/repository@revision.")
    return match["repository"], match["revision"] or _MAIN


def hub_origin(source: str) -> str:
    """`hf:owner/repository@revision` of a source (see `hub_repository`). Raises UserError."""
    return "hf:{}@{}".format(*hub_repository(source))


@contextmanager
def open_repository(source: str) -> Iterator[HubTree]:
    """The repository that `hf:owner/repository[@revision]` names, at the commit that the revision has now.

    Raises UserError when there is none or it needs a token, and NeedsNetwork when the hub cannot be reached.
    """
    repository, revision = hub_repository(source)
    with hub_client() as (client, address):
        yield HubTree(client, address, repository, revision)


class HubTree:
    """A Hugging Face repository at one commit. See FileTree. revision: a branch, a tag or a commit."""

    def __init__(self, client: httpx.Client, endpoint: str, repository: str, revision: str) -> None:
        self._client = client
        self._endpoint = endpoint
        self._repository = repository
        self.where = repository if revision == _MAIN else f"{repository} at {revision}"
        self.origin = f"hf:{repository}@{revision}"
        self.name = repository.rpartition("/")[2]
        self._contents: dict[str, bytes] = {}
        info = self._json(f"/api/models/{repository}/revision/{quote(revision, safe='')}")
        self.commit = _commit(info, self.where)
        self.licence = _licence(info)
        self._files = MappingProxyType(dict(self._listed()))
        self.sizes: Mapping[str, int] = {path: file.size for path, file in self._files.items()}

    @property
    def contents(self) -> Mapping[str, bytes]:
        """See FileTree."""
        return self._contents

    def read(self, path: str) -> bytes:
        """See FileTree. The content is checked against the hub's digest of it."""
        if path not in self._contents:
            file = self._files[path]
            content = self._get(self._address(path), min(file.size, MOST_SMALL) + 1)
            if len(content) != file.size or _digest_of(content, file) != (file.sha256 or file.blob):
                raise UserError(
                    f"{path} of {self.where} is not the file that the hub lists (its size or digest differs); "
                    "try again."
                )
            self._contents[path] = content
        return self._contents[path]

    def header(self, path: str, folder: Path, opened: Callable[[Path], Opened]) -> Opened:
        """See FileTree. Only the beginning of the file is downloaded."""
        size, place = self.sizes[path], folder / safe_file_name(PurePosixPath(path).name)
        for count in HEADERS:
            content = self._get(self._address(path), min(count, size), ranged=True)
            try:
                place.write_bytes(content)
                with place.open("r+b") as file:
                    file.truncate(size)  # the tensors are zeros that take no room on the disk
            except OSError as error:
                raise UserError(f"The header of {path} cannot be kept ({error.strerror}).") from None
            try:
                return opened(place)
            except UserError:  # of the file, or because the header is longer
                if len(content) == size or count == HEADERS[-1]:
                    raise
        raise AssertionError("the last round returns or raises")

    def catalog_file(self, role: str, path: str) -> CatalogFile:
        """See FileTree. A small file is read, because the hub lists no sha256 of it."""
        file = self._files[path]
        sha256 = file.sha256 or hashlib.sha256(self.read(path)).hexdigest()
        pin = Pin(safe_file_name(PurePosixPath(path).name), file.size, sha256)
        return CatalogFile(role, pin, HubSource(self._repository, self.commit, path))

    def _address(self, path: str) -> str:
        return f"{self._endpoint}/{self._repository}/resolve/{self.commit}/{quote(path)}"

    def _listed(self) -> Iterator[tuple[str, _Published]]:
        """The files of the commit. The hub answers in pages, each with the address of the next.

        The user's token goes with every request, so a page of another server is refused.
        """
        address = f"{self._endpoint}/api/models/{self._repository}/tree/{self.commit}?recursive=true"
        for _ in range(MOST_PAGES):
            response = self._answer(address, MOST_LISTING)
            page = _parsed(response.content, self.where)
            if not isinstance(page, list):
                raise _not_a_hub(self.where)
            for each in page:
                if isinstance(each, dict) and each.get("type") == "file":
                    yield _published(each, self.where)
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            url = response.url.join(following)
            if origin_of(url) != origin_of(httpx.URL(self._endpoint)):
                raise UserError(
                    f"{self.where} cannot be listed: its next page is on another server, {url.host}."
                )
            address = str(url)
        raise UserError(f"{self.where} cannot be listed: it has more than {MOST_PAGES} pages of files.")

    def _json(self, path: str) -> Any:
        return _parsed(self._answer(self._endpoint + path, MOST_LISTING).content, self.where)

    def _get(self, address: str, most: int, *, ranged: bool = False) -> bytes:
        """The content at an address, or the first `most` bytes of it. ranged: the rest is not asked for."""
        return self._answer(address, most, {"Range": f"bytes=0-{most - 1}"} if ranged else {}).content

    def _answer(self, address: str, most: int, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """The answer to a request, with its first `most` bytes as content."""

        def request() -> httpx.Response:
            with self._client.stream("GET", address, headers=dict(headers or {})) as response:
                _refuse(response, self.where)
                content = bytearray()
                for piece in response.iter_raw():
                    content += piece
                    if len(content) >= most:
                        break
                return httpx.Response(
                    response.status_code,
                    headers=[(k, v) for k, v in response.headers.items() if k.lower() == "link"],
                    content=bytes(content[:most]),
                    request=response.request,
                )

        return retried(request, address)


def _refuse(response: httpx.Response, where: str) -> None:
    """Raise UserError for the answers by which the hub says that a repository is not there or not open."""
    if response.status_code in (401, 403, 404):
        raise UserError(
            f"The hub does not give {where} ({response.status_code}): it is misspelt, or private, or its terms have to "
            "be accepted on its page; HF_TOKEN holds the token of who may read it."
        )


def _commit(info: Any, where: str) -> str:
    match info:
        case {"sha": str(commit)} if _COMMIT.fullmatch(commit):
            return commit
    raise _not_a_hub(where)


def _licence(info: Any) -> str:
    """The licence in the model's card, on one line; "not stated" without one."""
    match info:
        case {"cardData": {"license": str(licence)}} if licence:
            return (
                " ".join("".join(c if c.isprintable() else " " for c in licence).split())[:80] or "not stated"
            )
    return "not stated"


def _published(each: Mapping[str, Any], where: str) -> tuple[str, _Published]:
    path, size, blob = each.get("path"), each.get("size"), each.get("oid")
    large = each.get("lfs")
    sha256 = large.get("oid") if isinstance(large, dict) else None
    if isinstance(large, dict):
        size = large.get("size", size)
    safe = isinstance(path, str) and _is_unicode(path) and not {"", ".", ".."} & set(path.split("/"))
    if not safe or type(size) is not int or not 0 <= size < MOST_FILE or not isinstance(blob, str):
        raise _not_a_hub(where)
    if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        raise _not_a_hub(where)
    return str(path), _Published(size, sha256, blob)


def _is_unicode(text: str) -> bool:
    """Whether the text has no half of a surrogate pair, which JSON may hold and no address can."""
    return not any(0xD800 <= ord(c) < 0xE000 for c in text)


def _digest_of(content: bytes, file: _Published) -> str:
    """The digest that the hub lists: sha256 of a large file, git's sha1 of a small one."""
    if file.sha256 is not None:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise _not_a_hub(where) from None


def _not_a_hub(where: str) -> UserError:
    return UserError(f"{where} cannot be listed: the server did not answer as Hugging Face does.")
