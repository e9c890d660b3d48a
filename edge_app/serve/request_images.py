"""Reads the images of a request: data: URLs, and files under the folder that the server was started with.

Nothing else is opened. A path is followed to where it leads, and must then be in the folder; it is opened component by
component without following links, so that a link which is put there meanwhile leads nowhere.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from edge_app.serve.json_fields import JsonFields
from models.core.images import MAX_FILE_BYTES

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters at least: "C:" is a drive
_SHOWN = 80  # characters of an address in an error


class RequestImages:
    """folder: images may be read from it; None reads no files."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()

    def read(self, fields: JsonFields, field: str) -> bytes:
        """The bytes of the image that a field names. Raises ApiError."""
        url = (fields.text(field) or "").strip()
        if not url:
            raise fields.wrong(field, "is missing; give the image as a data: URL")
        match = _SCHEME.match(url)
        scheme = match[1].lower() if match else "file"
        if scheme == "data":
            return _data(fields, field, url)
        if scheme == "file":
            return self._file(fields, field, _path(url))
        if scheme in ("http", "https"):
            raise fields.wrong(
                field,
                f"is {url[:_SHOWN]}, on the web, where this server does not go; download the image first and send "
                "it as a data: URL",
                "image_on_the_web",
            )
        raise fields.wrong(field, f"has the scheme {scheme}:, which is not supported; send a data: URL")

    def _file(self, fields: JsonFields, field: str, path: str) -> bytes:
        if self._folder is None:
            raise fields.wrong(
                field,
                "is a path, and this server reads no files; start it with --images-from DIR, or send a data: URL",
                "images_not_allowed",
            )
        try:
            place = (self._folder / path).resolve()
            if place != self._folder and place.is_relative_to(self._folder):
                return _contents(self._folder, place.relative_to(self._folder).parts)
        except (OSError, ValueError, RuntimeError):  # not there, a NUL in the name, a loop of links
            pass
        # One error for all, so that nobody learns what there is elsewhere.
        raise fields.wrong(
            field,
            f"is {path[:_SHOWN]}, and there is no such image in the folder of --images-from",
            "image_not_found",
        )


def _data(fields: JsonFields, field: str, url: str) -> bytes:
    """The bytes of a data: URL (RFC 2397)."""
    head, comma, content = url.partition(",")
    if not comma:
        raise fields.wrong(field, "is a data: URL without a comma; write data:image/png;base64,CONTENT")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(content)
    text = "".join(unquote(content).split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise fields.wrong(field, "is a data: URL whose content is no base64") from None


def _path(url: str) -> str:
    """The path in a file: URL, or the path itself."""
    return unquote(urlsplit(url).path) if url.lower().startswith("file:") else url


def _contents(folder: Path, parts: tuple[str, ...]) -> bytes:
    """The bytes of an ordinary file under a folder. Raises OSError, also for one that is too large."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    if os.open not in os.supports_dir_fd:
        opened = os.open(folder.joinpath(*parts), flags)
    else:
        opened = os.open(folder, os.O_RDONLY)
        for part in parts:
            above, opened = opened, -1
            try:
                opened = os.open(part, flags, dir_fd=above)
            finally:
                os.close(above)
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            raise OSError("not an ordinary file, or too large")
        return file.read(MAX_FILE_BYTES)
