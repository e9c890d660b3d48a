"""Digests, locks, and writing of files, with the disk's errors as UserErrors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from models.core.errors import UserError

LOCK_POLL_SECONDS = 0.2
DAMAGED_NPZ = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile)
"""What reading a damaged .npz file raises: it is cut, or holds other arrays than expected."""

_OF_THE_DISK = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "EACCES", "EPERM", "ENOTDIR")
    if hasattr(errno, name)
)


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_in_url(url: str) -> Path | None:
    """The path of a file: URL, as "file:///home/ann/my%20scans/bill.pdf#3"; None for another text.

    What stands behind "#" stays: it is the number of a page. A URL of another machine is none either.
    """
    if not url.lower().startswith("file:/"):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket that is no address
        return None
    page = f"#{parts.fragment}" if parts.fragment else ""
    return Path(unquote(parts.path) + page) if parts.netloc in ("", "localhost") else None


LFS_POINTER = b"version https://git-lfs.github.com/"
"""How a file begins that git put in the place of a large one."""
LFS_ADVICE = "is a Git LFS pointer and not the file itself: run `git lfs pull` in its repository"


@contextmanager
def written_to(place: Path, remedy: str) -> Iterator[None]:
    """Turn errors of the disk and of permissions inside the block into a UserError.

    place, remedy: named in its message. Other OSErrors pass unchanged, for example the broken pipe of a progress
    callback.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise UserError(f"{place} cannot be written ({error.strerror}); {remedy}.") from error


@contextmanager
def alone(lock_file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that other processes respect.

    waiting: called several times a second while another process has the lock. An exception from it ends the wait
    and is passed on.
    """
    import filelock  # imports asyncio, which most starts do not need

    lock = filelock.FileLock(lock_file)
    while True:
        try:
            lock.acquire(timeout=LOCK_POLL_SECONDS)
        except filelock.Timeout:
            waiting()
        else:
            break
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError when the file is missing or holds something else."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); is this a model's directory?") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; download it again")
    return content


def sync_directory(path: Path) -> None:
    """Make renames in a directory survive a power cut, on systems that can sync directories."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write and read, which takes the place of path when the block ends without an exception.

    It is written under a temporary name in the same directory, synced and renamed, so that path holds the old
    content or the new one even after a power cut. Raises OSError when the disk refuses.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, making its directory if there is none. Raises UserError when the disk refuses."""
    with written_to(path, "choose another place or make room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content)
        sync_directory(path.parent)


@contextmanager
def replacing_document(path: Path) -> Iterator[BinaryIO]:
    """As `replacing`, for a file of the user's own, which is as readable as other new files.

    A file that is there keeps its permissions, and a symbolic link leads to the new content. The directory is made if
    there is none. Raises OSError when the disk refuses.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    with replacing(path) as file:
        yield file
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
    sync_directory(path.parent)


def write_document(path: Path, content: bytes) -> None:
    """Replace a file of the user's own (see `replacing_document`). Raises UserError when the disk refuses."""
    with written_to(path, "choose another place or make room"), replacing_document(path) as file:
        file.write(content)


def _umask() -> int:
    """Of this process; reading it means setting it for a moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
