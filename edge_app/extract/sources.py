"""The pages of what the user named: files, folders with all documents in them, globs, and standard input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import has_magic, iglob
from pathlib import Path

from edge_app.events import Picture
from edge_app.images.image_paths import exists, looks_like_image
from edge_app.images.image_sources import (
    ImageBytes,
    ImageSource,
    natural_order,
    path_of,
    without_path,
)
from models.core.errors import UserError
from models.core.png_text import png_file
from models.documents.pages import Page, pages_of, split_page


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

    def anywhere(self) -> PageJob:
        """The same for a process with another working folder."""
        if not isinstance(self.picture, partial) or not isinstance(self.picture.args[0], Path):
            return self
        path, *others = self.picture.args
        return replace(self, picture=partial(self.picture.func, path.absolute(), *others))


def find_files(sources: Sequence[str]) -> tuple[ImageSource, ...]:
    """The files of the sources in their order, those of a folder and of a glob by name; each once.

    A folder gives the images and PDF files in it and in its folders, without hidden ones. A source that is not there
    stays, so that its row says so. "file.pdf#3" is one page; "-", a pipe and a data: URL are read at once. Raises
    UserError for an address on the web, and for a source that is empty.
    """
    return tuple(dict.fromkeys(file for source in sources for file in _files_of(source)))


def _files_of(source: str) -> Iterator[ImageSource]:
    streamed = without_path(source)
    if streamed is not None:
        yield streamed
        return
    path = path_of(source)
    if _test(path.is_dir):
        yield from _documents_below(path)
    elif has_magic(source) and not exists(split_page(path)[0]):
        matches = sorted(map(Path, iglob(str(path), recursive=True)), key=_order)  # noqa: PTH207 (may be absolute)
        for match in matches:
            yield from _documents_below(match) if match.is_dir() else [match]
        if not matches:
            yield path
    else:
        yield path


def _documents_below(folder: Path) -> list[Path]:
    """The images and PDF files of a folder and its folders, without hidden ones: "page 2" before "page 10"."""
    found = [
        path
        for path in folder.rglob("*")
        if looks_like_image(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and _test(path.is_file)
    ]
    return sorted(found, key=_order)


def _order(path: Path) -> list[list[tuple[int, int, str]]]:
    return [natural_order(Path(part)) for part in path.parts]


def jobs_of(source: ImageSource) -> tuple[PageJob, ...]:
    """The pages of a file, or the one that its path names. A file that cannot be read has one, which says why."""
    name, number = (source.name, None) if isinstance(source, ImageBytes) else _split(source)
    try:
        pages = [(page.number, page.sha256) for page in _pages(source)]
    except UserError as error:
        return (PageJob(name, 1 if number is None else number, None, partial(_refuse, error)),)
    return tuple(PageJob(name, page, digest, partial(_picture, source, page)) for page, digest in pages)


def _split(path: Path) -> tuple[str, int | None]:
    file, number = split_page(path)
    return str(file), number


def _pages(source: ImageSource) -> Iterator[Page]:
    return pages_of(source.data, source.name) if isinstance(source, ImageBytes) else pages_of(source)


def _picture(source: ImageSource, number: int) -> Picture:
    """A page as a turn takes it: the file itself when it is one image, else a PNG file of the page with its text."""
    page = next((page for page in _pages(source) if page.number == number), None)
    if page is None:
        raise UserError(f"There is no page {number} any more.")
    return source if page.is_whole_file else png_file(page.picture())


def _refuse(error: UserError) -> Picture:
    raise error


def _test(question: Callable[[], bool]) -> bool:
    """The reply of a Path; False for a name that the system refuses."""
    try:
        return question()
    except (OSError, ValueError):
        return False
