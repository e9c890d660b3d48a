"""Paths of images as people write them: quoted, escaped, as file URLs, beginning with ~, or mentioned as "@path".

The only effect is to look up whether a file exists; no file is read. The module question_images finds such
paths in questions.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.core.files import path_in_url
from models.documents.pages import split_page

IMAGE_SUFFIXES = frozenset(
    [
        *(
            ".avif",
            ".bmp",
            ".dib",
            ".gif",
            ".heic",
            ".heif",
            ".hif",
            ".ico",
            ".icns",
            ".j2k",
            ".jfif",
            ".jp2",
        ),
        *(".jpe", ".jpeg", ".jpg", ".pbm", ".pcx", ".pdf", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga"),
        *(".tif", ".tiff", ".webp"),
    ]
)
"""The files that the picker lists, PDF among them. A file with another suffix can be attached by its path."""

_LONGEST_PASTE = 20_000
_PAGE_NUMBER = re.compile(r"#(?:page=)?\d+$")
_MENTION = re.compile(r'(?<!\S)@(?:"(?P<quoted>[^"\n]*)"?|(?P<plain>[^\s"]\S*)?)')


def expanded(text: str) -> Path:
    """The path with ~ expanded. A file whose own name begins with "~" is taken as it is, and so is "~name" when this
    machine has no user of that name."""
    path = Path(text)
    if not text.startswith("~") or exists(path):
        return path
    try:
        return path.expanduser()
    except (RuntimeError, ValueError):  # no such user, or NUL in the name
        return path


def looks_like_image(path: Path) -> bool:
    """Whether the name says that it is an image or a PDF, with or without the number of a page ("bill.pdf#3")."""
    return _PAGE_NUMBER.sub("", path.suffix.lower()) in IMAGE_SUFFIXES


def shown(path: Path) -> str:
    """The path relative to the working folder when inside it, else with the home folder as ~."""
    for base, prefix in ((Path.cwd(), ""), *((home, "~/") for home in home_folders())):
        if path.is_relative_to(base):
            rest = path.relative_to(base).as_posix()
            return prefix + rest if rest != "." else prefix.rstrip("/") or "."
    return str(path)


def home_folders() -> tuple[Path, ...]:
    """The user's home folder; empty for a user without one, as in some containers."""
    try:
        return (Path.home(),)
    except RuntimeError:
        return ()


def typed_path(text: str) -> Path:
    """The path in the argument of `/image`: may be quoted, escaped, a file:// URL, begin with ~, or have spaces."""
    text = text.strip()
    if is_file(expanded(text)):
        return expanded(text)
    found = _path(text)
    return found if found is not None else expanded(text)


def pasted_images(text: str) -> tuple[Path, ...]:
    """The image files that a pasted text names; empty when the text holds anything else."""
    if len(text) > _LONGEST_PASTE or not text.strip():
        return ()
    paths: list[Path] = []
    for line in text.strip().splitlines():
        if not line.strip():
            continue
        found = _paths_of_line(line.strip())
        if not found:
            return ()
        paths += found
    return tuple(paths) if all(looks_like_image(path) for path in paths) else ()


def _paths_of_line(line: str) -> Sequence[Path]:
    """One path that may contain spaces, or several in shell notation; empty when a file is missing."""
    whole = _path(line)
    if whole is not None and is_file(whole):
        return [whole]
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    paths = [unquoted_path(word) for word in words]
    return [p for p in paths if p is not None] if all(p is not None and is_file(p) for p in paths) else []


def _path(text: str) -> Path | None:
    """One path in any notation; None for a text that is no path."""
    if text.startswith("file://") or is_file(expanded(text)):
        return unquoted_path(text)
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    return unquoted_path(words[0]) if len(words) == 1 else None


def unquoted_path(text: str) -> Path | None:
    """A path or file URL without quotes and escapes; None for a URL of another machine."""
    return path_in_url(text) if text.lower().startswith("file:/") else expanded(text)


def exists(path: Path) -> bool:
    """Whether there is a file or folder of this path, or the file of which it names a page ("bill.pdf#3")."""
    try:
        return split_page(path)[0].exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file of this path, or the file of which it names a page."""
    try:
        return split_page(path)[0].is_file()
    except (OSError, ValueError):  # any text may come here: it can be too long for a name or contain NUL
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Mention:
    """An "@path" in a text. start, end: its columns, with "@" and quotes. path: as written."""

    start: int
    end: int
    path: str

    @property
    def file(self) -> Path:
        return expanded(self.path)


def mention_before(line: str, column: int) -> Mention | None:
    """The mention that contains the cursor or ends at it, with its path cut at the cursor; None without one."""
    for match in _MENTION.finditer(line):
        if match.start() < column <= match.end():
            path = match["quoted"] if match["quoted"] is not None else match["plain"] or ""
            offset = match.start() + (2 if match["quoted"] is not None else 1)
            return Mention(match.start(), match.end(), path[: max(0, column - offset)])
    return None


def quoted_mention(path: str, *, closed: bool = True) -> str:
    """The mention as it is typed: in quotes when the path has spaces. closed: with the second quote."""
    if any(character.isspace() for character in path):
        return f'@"{path}"' if closed else f'@"{path}'
    return f"@{path}"
