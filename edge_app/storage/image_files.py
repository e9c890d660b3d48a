"""Images by the hash of their content: one file each, named by its sha256, whole or not there at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from edge_app.system import paths
from models.core.errors import UserError


class ImageFiles:
    """The folder they are in.

    Whoever writes or removes holds the session database's write lock, so that a file is never removed while
    another process starts to use it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, digest: str) -> Path:
        return self._directory / digest

    def write(self, digest: str, data: bytes) -> None:
        """data: the bytes that digest is of. Replaces a file that is not what it was; else does nothing."""
        if self._is_whole(digest, len(data)):
            return
        paths.ensure(self._directory)
        try:
            descriptor, temporary = tempfile.mkstemp(prefix="partial-", dir=self._directory)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(self.file(digest))
        except OSError as error:
            raise UserError(f"Cannot save an image in {self._directory}: {error.strerror}.") from error

    def _is_whole(self, digest: str, size: int) -> bool:
        """False also for what cannot be read: writing it anew then heals it or says what is wrong."""
        file = self.file(digest)
        try:
            if file.stat().st_size != size:
                return False
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == digest
        except OSError:
            return False

    def remove_all_but(self, digests: Collection[str]) -> None:
        """Also removes what a process that died in mid-write left."""
        if not self._directory.is_dir():
            return
        for file in self._directory.iterdir():
            if file.name not in digests:
                file.unlink(missing_ok=True)
