"""Reads the images of a request: data: URLs, and files under the folder that the server was started with.

Nothing else is opened. A path is followed to where it leads, and must then be in the folder; it is opened component by
component without following links, so that a link which is put there meanwhile leads nowhere.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

from edge_app.events import Picture
from edge_app.images.image_sources import ImageBytes, image_in_data_url
from edge_app.serve.errors import ApiError
from edge_app.serve.json_fields import JsonFields
from models.core.errors import UserError
from models.core.files import path_in_url
from models.core.images import MAX_FILE_BYTES
from models.core.types import Image
from models.documents.pages import pages_of

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters at least: "C:" is a drive
_PAGE = re.compile(r"(?P<file>.+)#(?:page=)?(?P<number>\d{1,6})", re.DOTALL)
_SHOWN = 80  # characters of an address in an error


class RequestImages:
    """folder: images may be read from it; None reads no files."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()

    def read(self, fields: JsonFields, field: str) -> Picture:
        """The image that a field names. Raises ApiError."""
        url = (fields.text(field) or "").strip()
        if not url:
            raise fields.wrong(field, "is missing; give the image as a data: URL")
        match = _SCHEME.match(url)
        scheme = match[1].lower() if match else "file"
        if scheme == "data":
            return _data(fields, field, url)
        if scheme == "file":
            path = _path(url)
            if path is None:
                raise fields.wrong(field, f"is {url[:_SHOWN]}, a file of another machine; send a data: URL")
            return self._file(fields, field, path)
        if scheme in ("http", "https"):
            raise fields.wrong(
                field,
                f"is {url[:_SHOWN]}, on the web, where this server does not go; download the image first and send "
                "it as a data: URL",
                "image_on_the_web",
            )
        raise fields.wrong(field, f"has the scheme {scheme}:, which is not supported; send a data: URL")

    def _file(self, fields: JsonFields, field: str, written: str) -> Picture:
        if self._folder is None:
            raise fields.wrong(
                field,
                "is a path, and this server reads no files; start it with --images-from DIR, or send a data: URL",
                "images_not_allowed",
            )
        data = self._contents(written)
        page = _PAGE.fullmatch(written) if data is None else None
        if page is not None:
            data = self._contents(page["file"])
        if data is not None:
            name = Path(written).name
            try:
                return (
                    ImageBytes(data, name) if page is None else _page_image(data, name, int(page["number"]))
                )
            except UserError as error:
                raise _unreadable(fields, field, error) from None
        # One error for all, so that nobody learns what there is elsewhere.
        raise fields.wrong(
            field,
            f"is {written[:_SHOWN]}, and there is no such image in the folder of --images-from",
            "image_not_found",
        )

    def _contents(self, path: str) -> bytes | None:
        """The bytes of a file in the folder; None when there is none that can be read."""
        assert self._folder is not None, "the caller has checked it"
        try:
            place = (self._folder / path).resolve()
            if place == self._folder or not place.is_relative_to(self._folder):
                return None
            return _contents(self._folder, place.relative_to(self._folder).parts)
        except (OSError, ValueError, RuntimeError):  # not there, a NUL in the name, a loop of links
            return None


def _unreadable(fields: JsonFields, field: str, error: UserError) -> ApiError:
    return fields.wrong(field, f"is no image: {str(error).rstrip('.')}", "image_not_readable")


def _data(fields: JsonFields, field: str, url: str) -> ImageBytes:
    """The file in a data: URL, which may be percent-encoded inside a JSON text."""
    try:
        return image_in_data_url(url)
    except UserError as error:
        raise _unreadable(fields, field, error) from None


def _path(url: str) -> str | None:
    """The path in a file: URL, with its fragment, or the path itself; None for a URL of another machine."""
    lower = url.lower()
    if lower.startswith("file:/"):
        path = path_in_url(url)
        return None if path is None else str(path)
    return unquote(url[len("file:") :]) if lower.startswith("file:") else url


def _page_image(data: bytes, name: str, number: int) -> Image:
    """One page of a file. name: with the number. Raises UserError when it has no such page."""
    pages = list(pages_of(data, name.rpartition("#")[0]))
    if not 1 <= number <= len(pages):
        raise UserError(f"there is no page {number}, but {len(pages)} in all")
    return pages[number - 1].picture()


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
