"""The images that an argument names: a path, a page of a file, a folder, a pattern, standard input, or a data: URL.

Nothing is fetched from the network. Everything that comes from outside is read up to the limit of an image file.
"""

from __future__ import annotations

import base64
import binascii
import glob
import re
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote_to_bytes

from edge_app.images.image_paths import exists, expanded, is_folder, looks_like_image, unquoted_path
from models.core.errors import UserError
from models.core.images import MAX_FILE_BYTES, shortened

MOST_IMAGES: Final = 20
"""How many images a folder, a pattern or a file of pages may bring into one question."""

_STANDARD_INPUT: Final = frozenset(["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
_DATA = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<rest>(?:;[^,;]*)*),", re.ASCII | re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_PATTERN = re.compile(r"[*?]|\[.+\]")


@dataclass(frozen=True)
class ImageBytes:
    """The bytes of a file that has no path. name: for messages and the saved session."""

    data: bytes = field(repr=False)
    name: str


ImageSource = Path | ImageBytes


def sources_of(written: str) -> tuple[ImageSource, ...]:
    """The images that a text names, as a person writes it after `--image`.

    Raises UserError when there is nothing, or more than MOST_IMAGES.
    """
    streamed = without_path(written)
    if streamed is not None:
        return (streamed,)
    path = path_of(written)
    if not exists(path):
        found = _matches(written, path)
        if found is None:
            raise UserError(f"There is no file {shortened(written)}: check the name and the folder.")
        return found
    if is_folder(path):
        return _several(sorted(path.iterdir(), key=natural_order), f"the folder {shortened(written)}", "has")
    return (path,)


def without_path(written: str) -> ImageBytes | None:
    """The bytes of what can be read only once, or is no file: standard input, a pipe, a data: URL; None for others."""
    if is_standard_input(written):
        return standard_input()
    if _DATA.match(written):
        return image_in_data_url(written)
    path = Path(written)
    if not _is_pipe(path):
        return None
    with path.open("rb") as stream:
        return ImageBytes(_bounded(stream, "the pipe"), "the pipe")


def is_standard_input(written: str) -> bool:
    """Whether an argument stands for standard input."""
    return written in _STANDARD_INPUT


def image_in_data_url(url: str) -> ImageBytes:
    """The file inside a data: URL. Raises UserError for one that is not well formed or too large."""
    match = _DATA.match(url)
    if match is None:
        raise UserError(f"{shortened(url)} is not a data: URL with an image in it.")
    name = f"data:{(match['type'] or 'image').lower()}"
    if len(url) - match.end() > 3 * MAX_FILE_BYTES:  # each byte takes at most three characters
        raise UserError(f"{name} has more than the limit of {MAX_FILE_BYTES >> 20} MB: save a smaller copy.")
    data = unquote_to_bytes(url[match.end() :].encode("utf-8", "replace"))  # any text may come here
    if any(part.strip().lower() == "base64" for part in match["rest"].split(";")):
        digits = b"".join(data.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]  # a last digit alone has no byte
        try:
            data = base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
        except binascii.Error:
            raise UserError(f"{name} is not in base64 as its URL says: copy it again.") from None
    return ImageBytes(data, name)


def path_of(written: str) -> Path:
    """The path that a text names, also as a file: URL.

    Raises UserError for an address on the web, and for an empty text.
    """
    if not written:  # as a variable of a shell that is not set; the path would be that of the working folder
        raise UserError("The name of a file or folder is empty: give its path.")
    if not exists(Path(written)):
        if written.lower().startswith("file:"):
            path = unquoted_path(written)
            if path is None:
                raise UserError(f"{shortened(written)} is a file of another machine: copy it to this one.")
            return path
        if _ADDRESS.match(written):
            raise UserError(
                f"{written} is an address on the web, and no image is fetched from there: download it first, and "
                "give the path of the file."
            )
    return expanded(written)


def _matches(written: str, path: Path) -> tuple[ImageSource, ...] | None:
    """The images that a pattern matches; None for a text that is no pattern."""
    if not _PATTERN.search(written):
        return None
    # glob and not Path.glob, which takes no absolute pattern.
    found = sorted(map(Path, glob.iglob(str(path), recursive=True)), key=natural_order)  # noqa: PTH207
    return _several(found, f"the pattern {shortened(written)}", "matches")


def _several(files: list[Path], what: str, verb: str) -> tuple[Path, ...]:
    images = [
        file for file in files if looks_like_image(file) and not file.name.startswith(".") and file.is_file()
    ]
    if not images:
        raise UserError(f"{what[0].upper()}{what[1:]} {verb} no images.")
    if len(images) > MOST_IMAGES:
        raise UserError(
            f"{what[0].upper()}{what[1:]} {verb} {len(images)} images, and a question takes at most {MOST_IMAGES}: "
            "`edge-app extract` reads any number of them into a table."
        )
    return tuple(images)


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """A key by which "page 2" comes before "page 10"."""
    parts = re.split(r"(\d+)", path.name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]


def _is_pipe(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def standard_input() -> ImageBytes:
    """The file on standard input. Raises UserError for a terminal, and for one that is too large."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(
            "There is no image on standard input; give one, as in: cat photo.jpg | edge-app ask … --image -"
        )
    return ImageBytes(_bounded(sys.stdin.buffer, "standard input"), "standard input")


def _bounded(stream: IO[bytes], name: str) -> bytes:
    try:
        data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"{name} has more than the limit of {MAX_FILE_BYTES >> 20} MB: save a smaller copy.")
    return data
