"""The pages of what the user named: files, folders with all documents in them, and globs that the shell left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import has_magic, iglob
from pathlib import Path

from edge_app.events import Picture
from edge_app.image_paths import expanded, looks_like_image
from models.core.errors import UserError
from models.core.png_text import png_file
from models.documents.pages import pages_of, split_page

DOCUMENT_SUFFIXES = frozenset([".pdf", ".heic", ".heif"])
"""The files of a folder that are taken beside those that `looks_like_image` knows."""


@dataclass(frozen=True)
class PageJob:
    """A page to be answered.

    file: as the user named it, or below the folder that the user named. page: from 1. digest: sha256 (hex) of the
    file's bytes when it was looked at; None for a file that cannot be read. picture: reads the page; raises UserError.
    """

    file: str
    page: int
    digest: str | None
    picture: Callable[[], Picture]


def find_files(sources: Sequence[str]) -> tuple[Path, ...]:
    """The files of the sources in their order, those of a folder and of a glob by name; each once.

    A folder gives the images and PDF files in it and in its folders, without hidden ones. A source that is not there
    stays, so that its row says so. "file.pdf#3" is one page.
    """
    return tuple(dict.fromkeys(file for source in sources for file in _files_of(source)))


def _files_of(source: str) -> Iterator[Path]:
    path = expanded(source)
    if _test(path.is_dir):
        yield from sorted(_documents_below(path))
    elif has_magic(source) and not _test(split_page(path)[0].exists):
        matches = sorted(map(Path, iglob(str(path), recursive=True)))  # noqa: PTH207 (an absolute pattern)
        for match in matches:
            yield from sorted(_documents_below(match)) if match.is_dir() else [match]
        if not matches:
            yield path
    else:
        yield path


def _documents_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        known = looks_like_image(path) or path.suffix.lower() in DOCUMENT_SUFFIXES
        if known and not hidden and _test(path.is_file):
            yield path


def jobs_of(file: Path) -> tuple[PageJob, ...]:
    """The pages of a file, or the one that its path names. A file that cannot be read has one, which says why."""
    name, number = split_page(file)
    try:
        pages = [(page.number, page.sha256) for page in pages_of(file)]
    except UserError as error:
        return (PageJob(str(name), number or 1, None, partial(_refuse, error)),)
    return tuple(PageJob(str(name), page, digest, partial(_picture, name, page)) for page, digest in pages)


def _picture(file: Path, number: int) -> Picture:
    """A page as a turn takes it: the file itself when it is one image, else a PNG file of the page with its text."""
    page = next((page for page in pages_of(file) if page.number == number), None)
    if page is None:
        raise UserError(f"{file} has no page {number} any more.")
    return file if page.is_whole_file else png_file(page.picture())


def _refuse(error: UserError) -> Picture:
    raise error


def _test(question: Callable[[], bool]) -> bool:
    """The reply of a Path; False for a name that the system refuses."""
    try:
        return question()
    except (OSError, ValueError):
        return False
