"""Unpacks an adapter's archive, .zip or .tar.gz, without trusting anything in it.

An archive holds files that an adapter may have, at the top or in one folder, and nothing else: no links, no paths out
of the folder, no name twice, no more bytes than each file may have. No name in the archive is ever used as a path.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from adapters.store.manifest import ALLOWED_FILES
from models.core.errors import FileError, UserError

SUFFIXES = (".zip", ".tar.gz", ".tgz")
MOST_ENTRIES = 32
MOST_ARCHIVE_BYTES = sum(ALLOWED_FILES.values())
SUSPICIOUS_RATIO = 100
"""Unpacked over packed size. Weights hardly shrink at all; deflate reaches 1000 on equal bytes."""

_CHUNK = 1 << 20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, struct.error, EOFError, ValueError,
    KeyError, IndexError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


def unpack(archive: Path, target: Path) -> None:
    """Put the adapter's files into the empty folder target. Raises FileError for anything else in the archive.

    The first bytes decide whether it is a .zip or a .tar.gz.
    """
    try:
        with archive.open("rb") as file:
            start = file.read(4)
        size = archive.stat().st_size
    except OSError as error:
        raise FileError(archive, f" cannot be read ({error.strerror}).") from None
    if size > MOST_ARCHIVE_BYTES:
        raise FileError(archive, " is larger than any adapter; it is not unpacked.")
    if start[:2] == b"PK":
        _unpack_zip(archive, target)
    elif start[:2] == b"\x1f\x8b":
        _unpack_tar(archive, target)
    else:
        raise FileError(archive, " is neither a .zip nor a .tar.gz file; pack the adapter as one of them.")


def check_file_name(name: str, where: str | Path) -> str:
    """The name of a file, if an adapter may have it. where: the place that errors name. Raises FileError."""
    if name in ALLOWED_FILES:
        return name
    if name.lower().endswith(_PICKLES):
        raise FileError(
            where,
            f" holds {name!r}, which can run code when it is opened (pickle) and is never read; "
            "save the adapter as safetensors.",
        )
    raise FileError(
        where, f" holds {name!r}, which is no part of an adapter; an adapter has {', '.join(ALLOWED_FILES)}."
    )


class _Names:
    """Checks the names of an archive's entries, one after the other. Raises FileError."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._seen: set[str] = set()
        self._tops: set[str] = set()
        self._count = 0

    def folder(self, name: str) -> None:
        """Check the entry of the one folder that the files may be in."""
        if parts := self._parts(name.removesuffix("/")):
            self._enter(parts, len(parts) == 1)

    def file(self, name: str) -> str:
        """The name of an entry's file, without the folder that it is in."""
        parts = self._parts(name) or [name]
        self._enter(parts[:-1] or [""], len(parts) <= 2)
        if parts[-1].casefold() in self._seen:
            raise FileError(self._archive, f" holds {parts[-1]!r} twice; pack it again.")
        self._seen.add(parts[-1].casefold())
        return check_file_name(parts[-1], self._archive)

    def _enter(self, parts: list[str], shallow: bool) -> None:
        """Check that the entry is in the archive's one folder."""
        if not shallow:
            raise FileError(
                self._archive,
                f" holds folders in folders ({'/'.join(parts)!r}); an adapter's files are in one.",
            )
        self._tops.add(parts[0])
        if len(self._tops) > 1:
            raise FileError(
                self._archive,
                f" holds more than one folder ({', '.join(sorted(map(repr, self._tops)))}); pack "
                "one adapter alone.",
            )

    def _parts(self, name: str) -> list[str]:
        """The folders and the name in an entry's path. Raises FileError for one that leads out of the archive."""
        self._count += 1
        if self._count > MOST_ENTRIES:
            raise FileError(
                self._archive, f" holds more than {MOST_ENTRIES} entries; an adapter has few files."
            )
        parts = name.split("/")
        outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name
        if outside or "" in parts:
            raise FileError(
                self._archive, f" holds the path {name[:80]!r}, which leads out of it; it is not unpacked."
            )
        return parts[1:] if parts[0] == "." else parts  # as in ./adapter.toml


def _unpack_zip(archive: Path, target: Path) -> None:
    """Unpack a .zip archive. Raises FileError."""
    names = _Names(archive)
    with _damaged(archive), zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        if len(entries) > MOST_ENTRIES:
            raise FileError(archive, f" holds more than {MOST_ENTRIES} entries; an adapter has few files.")
        _check_ratio(archive, sum(entry.file_size for entry in entries))
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, entry.filename, kind == stat.S_IFLNK)
            if entry.flag_bits & 1:
                raise FileError(archive, " is encrypted; pack it without a password.")
            # What zipfile makes of a name may differ from what is written there.
            if entry.orig_filename.endswith("/"):
                names.folder(entry.orig_filename)
                continue
            name = names.file(entry.orig_filename)
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FileError(archive, " is packed by an unusual method; pack it with deflate.")
            _check_size(archive, name, entry.file_size)
            with packed.open(entry) as stream:
                _copy(stream, target / name, archive, entry.file_size)


def _unpack_tar(archive: Path, target: Path) -> None:
    """Unpack a .tar.gz archive. Raises FileError."""
    names, done = _Names(archive), 0
    with _damaged(archive), gzip.open(archive) as stream:
        measured = _Measured(stream, archive)
        packed = tarfile.open(fileobj=measured, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
        for entry in packed:
            if entry.isdir():
                names.folder(entry.name)
                continue
            if not entry.isreg() or entry.issparse():
                raise _special(archive, entry.name, entry.issym() or entry.islnk())
            name = names.file(entry.name)
            _check_size(archive, name, entry.size)
            done += entry.size
            _check_ratio(archive, done)
            content = packed.extractfile(entry)
            assert content is not None  # it is a regular file
            _copy(content, target / name, archive, entry.size)
        while measured.read(_CHUNK):  # to the end, where the checksum is
            pass


class _Measured:
    """A stream that is read in chunks of bounded size, so that a forged header cannot ask for all of the memory."""

    def __init__(self, stream: gzip.GzipFile, archive: Path) -> None:
        self._stream, self._archive = stream, archive
        self._limit = min(MOST_ARCHIVE_BYTES, max(_CHUNK, archive.stat().st_size) * SUSPICIOUS_RATIO)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK or self._stream.tell() + size > self._limit + _CHUNK:
            raise FileError(self._archive, " unpacks to more than an adapter can be; it is not unpacked.")
        return self._stream.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position > self._limit + _CHUNK:
            raise FileError(self._archive, " unpacks to more than an adapter can be; it is not unpacked.")
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


def _copy(stream: IO[bytes], target: Path, archive: Path, size: int) -> None:
    """Write the stream to a new file. Raises FileError when it has more bytes than that file may have."""
    written = 0
    with target.open("xb") as file:
        while chunk := stream.read(_CHUNK):
            written += len(chunk)
            _check_size(archive, target.name, written)
            file.write(chunk)
    if written != size:
        raise EOFError("it ends in the middle of a file")


def _check_size(archive: Path, name: str, size: int) -> None:
    if size > ALLOWED_FILES[name]:
        raise FileError(
            archive, f" holds a {name} of more than {ALLOWED_FILES[name]} bytes; it is not unpacked."
        )


def _check_ratio(archive: Path, unpacked: int) -> None:
    """Raises FileError when the archive unpacks to far more than weights would."""
    if unpacked > MOST_ARCHIVE_BYTES or unpacked > SUSPICIOUS_RATIO * max(_CHUNK, archive.stat().st_size):
        raise FileError(archive, f" unpacks to {unpacked} bytes, as no adapter does; it is not unpacked.")


def _special(archive: Path, name: str, link: bool) -> UserError:
    what = "a link" if link else "no ordinary file"
    return FileError(archive, f" holds {name[:80]!r}, which is {what}; an adapter's files are ordinary ones.")


@contextmanager
def _damaged(archive: Path) -> Iterator[None]:
    """Turn the exceptions of zipfile, tarfile and gzip into a FileError."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        # zipfile raises EINVAL when a damaged directory makes it seek to before the file. Any other OSError
        # comes from the disk.
        if type(error) is OSError and error.errno != errno.EINVAL:
            raise
        raise FileError(
            archive, f" is damaged ({error or type(error).__name__}); get a fresh copy."
        ) from None
