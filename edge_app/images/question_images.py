"""Finds the images that a question names by their paths, and takes the paths out of the question.

A path is attached when it names an image: with or without "@", in quotes, with escaped spaces, as a file:// URL, with
~, with punctuation after it. A path that looks like an image and is not there is an error if it has a separator, "@" or
"~"; "photo.jpg" alone may be a word of the question.

`ask`, `route` and the chat read what a person has typed with this module. Text from standard input and questions from
Python are not searched: nobody has meant their paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edge_app.images.image_paths import exists, expanded, is_file, looks_like_image, unquoted_path
from edge_app.images.image_sources import ImageSource
from models.core.errors import UserError
from models.core.images import shortened

LONGEST = 1000
"""A longer text was pasted: it names images by "@" only. In characters."""

_MOST_WORDS = 6  # of a path with spaces that is not quoted
_MOST_FORMS = 6  # of a word with punctuation after it that are looked up
_OPENING = "\"'“‘«([{<"
_QUOTES = "\"'“”‘’«»"
_CLOSING = "?!.,;:)]}>'\"”’»…"
_QUOTED = re.compile(r""""([^"\n]+)"|'([^'\n]+)'(?!\w)|“([^”\n]+)”|‘([^’\n]+)’(?!\w)|«([^»\n]+)»""")
_WORD = re.compile(r"(?:\\ |\S)+")
_POSSESSIVE = re.compile(r"['’]s$")
_WEB = re.compile(r"https?://", re.IGNORECASE)
# Wildcards, markup and code: a missing "path" with one of these was not meant as one.
_CODE = re.compile(r"""[*?"<>|{}$=;`^]|\\\.[A-Za-z0-9]+$""")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"%PDF-")

# Words are easier to read in a sentence than in a list of texts, hence the calls of split.
_DETERMINERS = frozenset("a an the this that my our your his her their its".split())  # noqa: SIM905
_NOUNS = frozenset("file image photo photograph pic picture scan screenshot".split())  # noqa: SIM905
_NEEDS_OBJECT = frozenset(
    "a about against an and at by from in inside into is like of on or than the to versus vs with within".split()  # noqa: SIM905
)
# Words that go on with a sentence whose subject is an image.
_GOES_ON = re.compile(
    r"\s*(?:,\s*)?(?:and|or|vs\.?|versus|compared|shows?|has|looks?|seems?|contains?|depicts?|was|"
    r"is(?!\s+(?:this|that|it|there|he|she|the|a)\b))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class QuestionWithImages:
    """A question without paths, for the model, and the files that it named, in their order, each once."""

    text: str
    images: tuple[Path, ...]


@dataclass(frozen=True)
class NamedImage:
    """A path in a text. start, end: its columns, with "@" and quotes. file: what it names; it may be missing."""

    start: int
    end: int
    file: Path


def read_question(text: str, attached: Sequence[ImageSource] = ()) -> QuestionWithImages:
    """Takes the images out of a question.

    attached: images that come before those of the text, for numbering and so that none is attached twice.
    Raises UserError for a path that is not there and for the address of an image on the web.
    """
    found = named_images(text)
    for named in found:
        if not exists(named.file):
            raise UserError(
                f"There is no file {shortened(_written(text, named))}: check the name and the folder."
            )
    known: list[ImageSource] = [*map(_same, attached)]
    images: list[Path] = []
    numbers = []
    for named in found:
        if (key := _same(named.file)) not in known:
            known.append(key)
            images.append(named.file)
        numbers.append(known.index(key) + 1)
    return QuestionWithImages(_without(text, found, numbers, several=len(known) > 1), tuple(images))


def read_arguments(arguments: Sequence[str], attached: Sequence[ImageSource] = ()) -> QuestionWithImages:
    """The question in the arguments of a command.

    An argument that as a whole names an existing image is attached and is no part of the question, as the second of
    `--image a.jpg b.jpg`. Where the words before it need an object, as in `ask what is in a.jpg`, it gets one.
    """
    text = ""
    images: list[Path] = []
    for path, words in groupby(arguments, _image):
        if path is None:
            read = read_question(" ".join(words), [*attached, *images])
            text, images = f"{text} {read.text}".strip(), [*images, *read.images]
            continue
        if _same(path) not in map(_same, [*attached, *images]):
            images.append(path)
        if _last_word(text) in _NEEDS_OBJECT:
            number = len(attached) + len(images)
            text = f"{text} {stand_in(text, '', number, several=number > 1)}"
    return QuestionWithImages(text, tuple(images))


def named_images(text: str) -> list[NamedImage]:
    """The images that a text names. Raises UserError for the address of an image on the web."""
    return list(_search(text))


def stand_in(preceding: str, following: str, number: int, *, several: bool) -> str:
    """The words that replace a path: "the image" or "image 2" within a sentence, nothing where the sentence does not
    need them. preceding, following: the text around it."""
    line = preceding.rpartition("\n")[2].rstrip()
    if not line or line[-1] in ".?!:":
        if not _GOES_ON.match(following):
            return ""
        return f"Image {number}" if several else "The image"
    last = _last_word(line)
    if last in _NOUNS:
        return str(number) if several else ""
    if several:
        return f"image {number}"
    return "image" if last in _DETERMINERS else "the image"


def _written(text: str, named: NamedImage) -> str:
    """A path as it is written in the text."""
    return text[named.start : named.end].removeprefix("@").strip(_QUOTES)


def _without(text: str, found: Sequence[NamedImage], numbers: Sequence[int], *, several: bool) -> str:
    """The text for the model: paths say nothing about the image and may reveal private names."""
    result, end = "", 0
    for named, number in zip(found, numbers, strict=True):
        result += text[end : named.start]
        words = stand_in(result, text[named.end :], number, several=several)
        end = named.end
        if not words:
            if not result.rpartition("\n")[2].strip():
                end += _length(r"\s*[,:;–-]+(?=\s)", text[end:])
            elif text[end : end + 1] in (*_CLOSING,):
                result = result.rstrip(" \t")
        result += words
    result += text[end:]
    return re.sub(r"(?<=\S)[ \t]{2,}", " ", result).strip() if found else text


def _length(pattern: str, text: str) -> int:
    match = re.match(pattern, text)
    return match.end() if match else 0


def _last_word(text: str) -> str:
    return text.rstrip().rpartition(" ")[2].lower()


def _same(source: ImageSource) -> ImageSource:
    """What is equal for two ways to name one file."""
    if not isinstance(source, Path):
        return source
    path = source
    try:
        return expanded(str(path)).resolve()
    except (OSError, ValueError, RuntimeError):
        return path


# -- the search


def _search(text: str) -> Iterator[NamedImage]:
    """Goes from word to word. A word may begin with brackets, quotes and "@"."""
    at, free, typed = 0, 0, len(text) <= LONGEST
    while (word := _WORD.search(text, at)) is not None:
        at = word.start()
        mention = text.startswith("@", at)
        named = None
        if mention or typed:
            named = _quoted(text, at, mention=mention)
        if named is None and text[at] in _OPENING:
            at += 1  # a bracket, or a quote around more than a path
            continue
        if named is None and (mention or typed):
            named = _plain(text, at, word.end(), free, mention=mention)
        if named is not None:
            yield named
            at = free = named.end
        else:
            at = word.end()


def _quoted(text: str, start: int, *, mention: bool) -> NamedImage | None:
    """The image in quotes that begin at a column, after "@" if it is a mention."""
    match = _QUOTED.match(text, start + mention)
    if match is None:
        return None
    file = _named(match[match.lastindex or 0], mention=mention)
    return NamedImage(start, match.end(), file) if file is not None else None


def _plain(text: str, start: int, end: int, free: int, *, mention: bool) -> NamedImage | None:
    """The image that a word names. free: the column from which earlier words may belong to its path."""
    begin = start + mention
    written = text[begin:end]
    bare = _POSSESSIVE.sub("", written.rstrip(_CLOSING))
    # The longest form that exists wins: a name may end in a bracket.
    is_url = written.startswith("file://")
    forms = (
        [] if is_url else [written[:length] for length in range(len(written), len(bare), -1)][:_MOST_FORMS]
    )
    for form in (*(form for form in forms if form), bare):
        path = unquoted_path(_unescaped(form)) if form else None
        if path is not None and exists(path) and (file := _named(form, mention=mention)) is not None:
            return NamedImage(start, begin + len(form), file)
    if not bare:
        return None
    if not mention and looks_like_image(Path(bare)) and not _WEB.match(bare):
        named = _with_spaces(text, start, begin + len(bare), free)
        if named is not None:
            return named
    file = _named(bare, mention=mention)
    return NamedImage(start, begin + len(bare), file) if file is not None else None


def _with_spaces(text: str, start: int, end: int, free: int) -> NamedImage | None:
    """The existing image whose path is this word and some words before it."""
    line = max(free, text.rfind("\n", 0, start) + 1)
    for word in list(_WORD.finditer(text, line, start))[: -_MOST_WORDS - 1 : -1]:
        begin = word.start()
        while begin < word.end() and text[begin] in _OPENING:
            begin += 1
        path = expanded(text[begin:end])
        if is_file(path):
            return NamedImage(begin, end, path)
    return None


def _named(written: str, *, mention: bool) -> Path | None:
    """The file that a text names as an image; None when it is no path of an image."""
    if _WEB.match(written):
        if looks_like_image(Path(written.split("?", maxsplit=1)[0])) and not _CODE.search(written):
            raise UserError(
                f"{written} is an address on the web, and no image is fetched from there: download it first, and "
                "give the path of the file."
            )
        return None
    unescaped = _unescaped(written)
    path = unquoted_path(written) if is_file(expanded(written)) else unquoted_path(unescaped)
    if path is None:
        return None
    if exists(path):
        whatever = mention and is_file(path)
        return (
            path
            if whatever or looks_like_image(path) or (_is_path(written) and _has_signature(path))
            else None
        )
    if not looks_like_image(path) or _CODE.search(written):
        return None
    return path if mention or _is_path(written) else None


def _is_path(written: str) -> bool:
    return written.startswith("~") or "/" in written or "\\" in written


def _image(argument: str) -> Path | None:
    """The existing image that a whole argument names."""
    path = unquoted_path(argument)
    if path is None or not is_file(path):
        return None
    return path if looks_like_image(path) or _has_signature(path) else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([ '\"()&])", r"\1", text)


def _has_signature(path: Path) -> bool:
    """Whether a file begins as the common formats do."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except (OSError, ValueError):
        return False
    if head[4:8] == b"ftyp":
        return head[8:] in (b"heic", b"heix", b"mif1", b"avif")
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
