"""Copies or downloads an adapter's files: from this machine, the web, Hugging Face, or those that come with the app.

Only files that an adapter may have are written, and none larger than it may be.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from adapters.install.archive import MOST_ARCHIVE_BYTES, check_file_name, check_has_files, unpack
from adapters.store.adapter_store import bundled_folder, bundled_names
from adapters.store.manifest import (
    ALLOWED_FILES,
    MANIFEST_FILE,
    REQUIRED_FILES,
    SIGNATURE_FILE,
    parse_manifest,
)
from models.core.errors import FileError, NeedsNetwork, UserError
from models.core.files import file_digest, path_in_url

if TYPE_CHECKING:
    import httpx

    from models.core.types import Progress


_MOST_LISTING = 2**23
_CHUNK = 1 << 20


def _no_progress(*_: object) -> None:
    """Ignores what it is called with. models.core.types has the same, but importing it imports numpy."""


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    source: an argument of `fetch` that fetches the same adapter again. revision: the commit; empty for a source
    without commits. bundled: whether it comes with the app. left_out: what lies beside the adapter's files and was
    not fetched; a folder's name ends with a slash.
    """

    source: str
    revision: str = ""
    bundled: bool = False
    left_out: tuple[str, ...] = ()


def fetch(
    source: str,
    target: Path,
    *,
    sha256: str = "",
    offline: bool = False,
    progress: Progress = _no_progress,
) -> Fetched:
    """Put the files into the folder target, which is empty.

    source: a folder, a .zip or .tar.gz, a file: URL or an https address of either, that of an adapter.toml with its
    files beside it, hf:owner/repository[@revision], or the name of a bundled adapter. sha256: the archive's expected
    digest (hex).
    Raises NeedsNetwork when the source is on the network and the app is offline or the server cannot be reached, and
    UserError for every other failure.
    """
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"--sha256 {sha256!r} is not a sha256; it has 64 hexadecimal digits.")
    sha256 = sha256.lower()
    local = path_in_url(source)
    web = "://" in source and local is None
    if (web or source.startswith("hf:")) and offline:
        raise NeedsNetwork(
            f"{source} is on the network and the app is offline; install it once without --offline."
        )
    if web:
        return _from_web(source, target, sha256, progress)
    path = local or (Path(source).expanduser() if source.startswith("~/") else Path(source))
    folder, archive = source != "" and _holds(path.is_dir), _holds(path.is_file)
    if sha256 and not archive:
        raise UserError(f"--sha256 is of an archive, and {source} is none; leave it out.")
    if source.startswith("hf:"):
        return _from_hub(source, target, progress)
    if source in bundled_names():
        _copy_folder(bundled_folder(source), target)
        return Fetched(source, bundled=True)
    if folder:
        return Fetched(str(path.resolve()), left_out=_copy_folder(path, target))
    if archive:
        _check_digest(path, sha256, source)
        return Fetched(str(path.resolve()), left_out=unpack(path, target))
    known = ", ".join(bundled_names()) or "none"
    raise UserError(f"{source} is no folder or archive here, and no bundled adapter (there are: {known}).")


def _holds(check: Callable[[], bool]) -> bool:
    """The result of a check of the file system; False when it raises, for example because a name is too long."""
    try:
        return check()
    except OSError:
        return False


def _copy_folder(folder: Path, target: Path) -> tuple[str, ...]:
    """Copy an adapter's files. Returns the other entries of the folder, which are never opened.

    A link may lead to another file of the folder, or of the cache of the Hugging Face hub that the folder is a part of.
    Raises UserError for any other link.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}).") from None
    files = {entry.name: _resolved(entry, folder) for entry in entries}
    others = [entry for entry in entries if entry.name not in ALLOWED_FILES]
    wanted = {name: path for name, path in files.items() if name in ALLOWED_FILES}
    check_has_files(wanted, (entry.name for entry in others if not entry.is_dir()), folder)
    for name, path in wanted.items():
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no ordinary file"
            raise UserError(f"{folder} holds {name!r}, which is {what}; an adapter has ordinary files only.")
        try:
            with path.open("rb") as file:
                pieces = iter(partial(file.read, _CHUNK), b"")
                _write(pieces, target / name, ALLOWED_FILES[name], f"{folder / name}")
        except PermissionError as error:
            raise UserError(f"{folder / name} cannot be read ({error.strerror}).") from None
    return tuple(entry.name + ("/" if entry.is_dir() else "") for entry in others)


def _resolved(entry: os.DirEntry[str], folder: Path) -> Path:
    """The path of a folder's entry, where its link leads. Raises UserError for a link that leads elsewhere.

    The hub keeps a repository as <name>/snapshots/<commit>, with links to files in <name>/blobs.
    """
    if not entry.is_symlink():
        return Path(entry.path)
    home, path = folder.resolve(), Path(entry.path).resolve()
    inside = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(path.is_relative_to(place) for place in inside):
        raise UserError(
            f"{folder} holds {entry.name!r}, which is a link to a place outside it; an adapter has its files inside."
        )
    return path


def _from_web(address: str, target: Path, sha256: str, progress: Progress) -> Fetched:
    """Download an archive and unpack it, or an adapter.toml with the files that it lists."""
    from models.hub.download import secure_client, without_user

    shown = without_user(address)
    with secure_client(address, shown) as client:
        if client.build_request("GET", shown).url.path.endswith("/" + MANIFEST_FILE):
            _fetch_listed(client, shown, target, progress)
            return Fetched(shown)
        archive = target.parent / f"{target.name}.archive"
        _get(client, shown, archive, MOST_ARCHIVE_BYTES, progress)
    _check_digest(archive, sha256, shown)
    try:
        beside = unpack(archive, target)
    except FileError as error:
        raise error.at(shown) from None
    archive.unlink()
    if not sha256 and not (target / MANIFEST_FILE).exists():
        raise UserError(
            f"{shown} holds no {MANIFEST_FILE} with the hashes of its files; say what the archive must be with "
            "--sha256."
        )
    return Fetched(shown, left_out=beside)


def _fetch_listed(client: httpx.Client, address: str, target: Path, progress: Progress) -> None:
    """Fetch an adapter.toml, the files beside it whose hashes it lists, and the signature if there is one."""
    manifest = target / MANIFEST_FILE
    _get(client, address, manifest, ALLOWED_FILES[MANIFEST_FILE], progress)
    for name in parse_manifest(manifest.read_bytes(), Path(MANIFEST_FILE)).files:
        _get(client, urljoin(address, name), target / name, ALLOWED_FILES[name], progress)
    signature = target / SIGNATURE_FILE
    _get(
        client,
        urljoin(address, SIGNATURE_FILE),
        signature,
        ALLOWED_FILES[SIGNATURE_FILE],
        progress,
        absent=True,
    )


def _from_hub(source: str, target: Path, progress: Progress) -> Fetched:
    """Download the adapter's files of a Hugging Face repository at one commit."""
    from huggingface_hub import hf_hub_url  # imported here, because the import takes half a second

    from models.hub.download import hub_client
    from models.hub.file_trees import hub_repository

    repository, revision = hub_repository(source)
    with hub_client() as (client, endpoint):
        listing = target.parent / f"{target.name}.listing"
        api = f"{endpoint}/api/models/{repository}/revision/{revision.replace('/', '%2F')}"
        _get(client, api, listing, _MOST_LISTING, _no_progress)
        commit, files = _parse_listing(listing, source)
        listing.unlink()
        for name in REQUIRED_FILES:
            if name not in files:
                pickled = [file for file in files if file.startswith("adapter_model.")]
                for file in pickled:
                    check_file_name(file, source)
                raise UserError(f"{source} has no {name}; it is no PEFT adapter.")
        wanted = [name for name in ALLOWED_FILES if name in files]
        for name in wanted:
            address = hf_hub_url(repository, name, revision=commit, endpoint=endpoint)
            _get(client, address, target / name, ALLOWED_FILES[name], progress)
    left_out = tuple(sorted(set(files) - set(wanted) - {".gitattributes", ".gitignore"}))
    return Fetched(source, revision=commit, left_out=left_out)


def _parse_listing(path: Path, source: str) -> tuple[str, tuple[str, ...]]:
    """The commit and the names of its files, from the hub's JSON in path."""
    try:
        match json.loads(path.read_bytes()):
            case {"sha": str(commit), "siblings": list(siblings)} if re.fullmatch("[0-9a-f]{40}", commit):
                return commit, tuple(str(sibling["rfilename"]) for sibling in siblings)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UserError(f"{source} cannot be listed: the server did not answer as Hugging Face does.")


def _get(
    client: httpx.Client,
    address: str,
    target: Path,
    most: int,
    progress: Progress,
    *,
    absent: bool = False,
) -> None:
    """Download the file at an address to target.

    most: the bytes that it may have. absent: whether the server may lack the file, in which case nothing is written.
    A broken connection restarts the download from the beginning, since adapters have only a few MB.
    """
    import httpx

    from models.hub.download import retried

    name = httpx.URL(address).path.rpartition("/")[2] or address

    def request() -> httpx.Response:
        with client.stream("GET", address) as response:
            if response.is_success:
                length = response.headers.get("Content-Length", "")
                total = int(length) if length.isdecimal() else None
                tell = partial(progress, "pull", f"Downloading {name}")
                _write(_counted(response.iter_raw(_CHUNK), tell, total), target, most, address)
            elif response.status_code in (404, 410) and absent:
                return httpx.Response(204)
            return response

    retried(request, address)


def _counted(
    pieces: Iterable[bytes], tell: Callable[[int, int | None], None], total: int | None
) -> Iterable[bytes]:
    """Pass the pieces on and report their bytes to `tell`."""
    done = 0
    tell(0, total)
    for piece in pieces:
        yield piece
        done += len(piece)
        tell(done, total)


def _write(pieces: Iterable[bytes], target: Path, most: int, what: str) -> None:
    """Write the pieces to target. Raises UserError when they have more than `most` bytes. what: for the message."""
    written = 0
    with target.open("wb") as file:
        for piece in pieces:
            written += len(piece)
            if written > most:
                raise UserError(f"{what} is larger than the {most} bytes that such a file may have.")
            file.write(piece)


def _check_digest(path: Path, sha256: str, what: str) -> None:
    if sha256 and (found := file_digest(path)) != sha256:
        raise UserError(f"{what} is not the file that --sha256 names: its sha256 is {found}.")
