"""Unpacks an adapter's archive, .zip or .tar.gz, without trusting anything in it.

The adapter's files are at the top of an archive or in one folder. What lies beside them (a tokenizer, the state of a
training, .git, __MACOSX) is named and never unpacked. Refused are links, paths out of the archive, a name twice, and
more bytes than each file may have. No name in the archive is ever used as a path.
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
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adapters.store.manifest import ALLOWED_FILES, CONFIG_FILE, WEIGHTS_FILE
from models.core.errors import FileError, UserError

SUFFIXES = (".zip", ".tar.gz", ".tgz")
MOST_ENTRIES = 4096
MOST_ARCHIVE_BYTES = sum(ALLOWED_FILES.values())
SUSPICIOUS_RATIO = 100
"""Unpacked over packed size. Weights hardly shrink at all; deflate reaches 1000 on equal bytes."""

PICKLED_WEIGHTS = "adapter_model.bin"

_CHUNK = 1 << 20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, struct.error, EOFError, ValueError,
    KeyError, IndexError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


def unpack(archive: Path, target: Path) -> tuple[str, ...]:
    """Put the adapter's files into the empty folder target. Returns what else the archive holds, see `left_out`.

    The first bytes decide whether it is a .zip or a .tar.gz. Raises FileError.
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
        return _unpack_zip(archive, target)
    if start[:2] == b"\x1f\x8b":
        return _unpack_tar(archive, target)
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


def left_out(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The first part of each path, once and sorted; that of a folder ends with a slash."""
    return tuple(sorted({path[0] + ("/" if len(path) > 1 else "") for path in paths}))


def check_has_files(files: Collection[str], others: Iterable[str], where: str | Path) -> None:
    """Raises FileError when no file of an adapter is there, or its weights are there as a pickle only.

    files, others: the names of files that an adapter may have, and of those beside them.
    """
    for name in others:
        if not files or (name.lower() == PICKLED_WEIGHTS and WEIGHTS_FILE not in files):
            check_file_name(name, where)


class _Listing:
    """The entries of an archive, read before anything is unpacked. Raises FileError."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._files: list[tuple[str, ...]] = []
        self._folders: list[tuple[str, ...]] = []

    def add(self, name: str, *, is_folder: bool) -> None:
        parts = _parts(self._archive, name.removesuffix("/") if is_folder else name)
        (self._folders if is_folder else self._files).append(parts)
        if len(self._files) + len(self._folders) > MOST_ENTRIES:
            raise FileError(
                self._archive, f" holds more than {MOST_ENTRIES} entries; an adapter has few files."
            )

    def layout(self) -> _Layout:
        """Decides which folder of the archive is the adapter's."""
        top = self._top()
        names = [parts[-1] for parts in self._files if parts and parts[:-1] == top]
        often = Counter(name.casefold() for name in names)
        for name in names:
            if often[name.casefold()] > 1:
                raise FileError(self._archive, f" holds {name!r} twice; pack it again.")
        files = {name for name in names if name in ALLOWED_FILES}
        others = [parts[-1] for parts in self._files if parts and parts[-1] not in files]
        check_has_files(files, others, self._archive)
        # Of a file the path, of a folder the path and an empty name, so that both say of what they are.
        paths = [*self._files, *((*folder, "") for folder in self._folders)]
        within = [path[len(top) :] if path[: len(top)] == top else path for path in paths]
        return _Layout(top, left_out(path for path in within if path != ("",) and path[0] not in files))

    def _top(self) -> tuple[str, ...]:
        """The one folder with an adapter's files, at most one level deep: where its configuration is, if it has one."""
        homes = {parts[:-1] for parts in self._files if parts and parts[-1] in ALLOWED_FILES}
        configured = {parts[:-1] for parts in self._files if parts and parts[-1] == CONFIG_FILE}
        near = [home for home in configured or homes if len(home) <= 1]
        if homes and not near:
            raise FileError(
                self._archive,
                f" holds folders in folders ({'/'.join(min(homes))!r}); an adapter's files are in one.",
            )
        least = min(map(len, near), default=0)
        tops = sorted(home for home in near if len(home) == least)
        if len(tops) > 1:
            shown = ", ".join(repr("/".join(top)) for top in tops)
            raise FileError(self._archive, f" holds more than one folder ({shown}); pack one adapter alone.")
        return tops[0] if tops else ()


@dataclass(frozen=True)
class _Layout:
    """top: the folder with the adapter's files. left_out: see `left_out`."""

    top: tuple[str, ...]
    left_out: tuple[str, ...]

    def file(self, archive: Path, name: str) -> str | None:
        """The name of the adapter's file that an entry holds; None when it holds none."""
        parts = _parts(archive, name)
        return parts[-1] if parts and parts[:-1] == self.top and parts[-1] in ALLOWED_FILES else None


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The folders and the name in an entry's path. Raises FileError for one that leads out of the archive."""
    parts = name.split("/")
    outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name
    if outside or "" in parts:
        raise FileError(archive, f" holds the path {name[:80]!r}, which leads out of it; it is not unpacked.")
    return tuple(parts[1:] if parts[0] == "." else parts)  # as in ./adapter.toml


def _unpack_zip(archive: Path, target: Path) -> tuple[str, ...]:
    """Unpack a .zip archive. Returns what is left out. Raises FileError."""
    listing = _Listing(archive)
    with _damaged(archive), zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, entry.filename, kind == stat.S_IFLNK)
            # What zipfile makes of a name may differ from what is written there.
            listing.add(entry.orig_filename, is_folder=entry.orig_filename.endswith("/"))
        layout = listing.layout()
        named = [(entry, layout.file(archive, entry.orig_filename.removesuffix("/"))) for entry in entries]
        wanted = [(entry, name) for entry, name in named if name and not entry.orig_filename.endswith("/")]
        _check_ratio(archive, sum(entry.file_size for entry, _ in wanted))
        for entry, name in wanted:
            if entry.flag_bits & 1:
                raise FileError(archive, " is encrypted; pack it without a password.")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FileError(archive, " is packed by an unusual method; pack it with deflate.")
            _check_size(archive, name, entry.file_size)
            with packed.open(entry) as stream:
                _copy(stream, target / name, archive, entry.file_size)
    return layout.left_out


def _unpack_tar(archive: Path, target: Path) -> tuple[str, ...]:
    """Unpack a .tar.gz archive, which is read twice. Returns what is left out. Raises FileError."""
    listing = _Listing(archive)
    with _damaged(archive), _tar_entries(archive) as entries:
        for entry, _ in entries:
            listing.add(entry.name, is_folder=entry.isdir())
    layout = listing.layout()
    with _damaged(archive), _tar_entries(archive) as entries:
        for entry, content in entries:
            name = None if content is None else layout.file(archive, entry.name)
            if content is not None and name is not None:
                _check_size(archive, name, entry.size)
                _copy(content, target / name, archive, entry.size)
    return layout.left_out


@contextmanager
def _tar_entries(archive: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]:
    """The entries of a .tar.gz archive with their content, None for a folder. Raises FileError for links and devices.

    Everything in the archive is unpacked on the way, so that its size is bounded as a whole.
    """

    def read(measured: _Measured) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        # It only reads what _Measured has, and the file below it is closed by whoever opened it.
        packed = tarfile.open(fileobj=measured, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
        done = 0
        for entry in packed:
            if not entry.isdir() and (not entry.isreg() or entry.issparse()):
                raise _special(archive, entry.name, entry.issym() or entry.islnk())
            done += entry.size
            _check_ratio(archive, done)
            yield entry, None if entry.isdir() else packed.extractfile(entry)
        while measured.read(_CHUNK):  # to the end, where the checksum is
            pass

    with gzip.open(archive) as stream:
        yield read(_Measured(stream, archive))


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
