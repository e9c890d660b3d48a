"""Images stored by content: one file for each, named by the sha256 of its bytes, written atomically."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

from edge_app.system import paths
from models.core.errors import UserError


class ImageFiles:
    """The folder of the images.

    Callers of `write` and `remove_all_but` hold the database's write lock, so that no process removes a file that
    another one starts to use.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, digest: str) -> Path:
        return self._directory / digest

    def write(self, digest: str, data: bytes) -> None:
        """Writes data, whose sha256 is digest, unless the file is there and undamaged.

        Raises UserError when the disk refuses.
        """
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
        """Whether the file has this size and digest. False for an unreadable file, which `write` then replaces."""
        file = self.file(digest)
        try:
            if file.stat().st_size != size:
                return False
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == digest
        except OSError:
            return False

    def remove_all_but(self, digests: Collection[str]) -> None:
        """Removes all other files, those of interrupted writes included."""
        if not self._directory.is_dir():
            return
        for file in self._directory.iterdir():
            if file.name not in digests:
                file.unlink(missing_ok=True)
