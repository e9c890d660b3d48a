"""Labelled images as the user wrote them: a JSON object a line, checked before anything is computed.

A row has image (relative to the file, or to a folder that is given), question and answer; type (what kind of
question), split ("train" or "val") and labels ({name: word}: further facts about the image, which an own head
may learn to see) are optional. A UserError names the line that is wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.core.errors import UserError
from models.core.files import file_digest, path_in_url
from models.core.images import shortened
from models.core.types import Detail
from models.documents.pages import page_digest, split_page

TRAIN, VALIDATION = "train", "val"
VALIDATION_SHARE = 0.2
"""Share of the images that becomes the validation split of rows without splits."""

LEAST_IMAGES = 8
MAX_QUESTION, MAX_ANSWER, MAX_TYPE = 4000, 4000, 64
DEFAULT_TYPE = "answer"

NOT_ON_THE_PAGE = "Not on the page."
"""The answer of a row whose page has no answer, the one text with which adapters for pages learn to decline. It counts
as a decline wherever answers are judged (router.confidence.declines)."""

OCR_FILE = "ocr.json"
"""Texts of images, in the cache folder of the app (models.ocr.reader.OcrCache)."""

_LABEL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class TrainingRow:
    """A question about an image, with its answer.

    image: the file. digest: sha256 (hex) of its bytes. place: file and line, for messages. set: the name of
    the file it is from. detail: how closely the image is looked at, by models that cut images.
    """

    image: Path
    digest: str
    question: str
    answer: str
    type: str
    split: str
    place: str
    set: str
    labels: Mapping[str, str] = field(default_factory=dict)
    detail: Detail = "high"

    @property
    def view(self) -> str:
        """Identifies the image as it is looked at: its digest, and the detail unless that is "high"."""
        return self.digest if self.detail == "high" else f"{self.digest} {self.detail}"


def read_training_rows(file: Path, images: Path | None = None) -> tuple[TrainingRow, ...]:
    """All rows of a file. images: what image paths are relative to; None is the file's own folder.

    Without splits in the file a fifth of the images becomes the validation split, always the same ones.
    Raises UserError, naming the line, for what does not fit, and when training and validation share an image.
    """
    rows = _read(file, images)
    count = len({row.digest for row in rows if row.split == TRAIN})
    if count < LEAST_IMAGES:
        raise UserError(f"{file} has {count} images to learn from; at least {LEAST_IMAGES} are needed.")
    return rows


def read_validation_rows(file: Path, images: Path | None = None) -> tuple[TrainingRow, ...]:
    """The rows of the split "val" of a file, which may have no others. Raises UserError as read_training_rows does."""
    rows = of_split(_read(file, images), VALIDATION)
    if not rows:
        raise UserError(f'{file} has no rows of the split "{VALIDATION}" to measure on.')
    return rows


def _read(file: Path, images: Path | None) -> tuple[TrainingRow, ...]:
    """The checked rows of a file, each with a split. Raises UserError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} cannot be read ({error}); give a file of JSON objects, one a line."
        ) from None
    digests: dict[Path, str] = {}
    rows = [
        _row(line, f"{file}, line {number}", images or file.parent, file.stem, digests)
        for number, line in enumerate(text.split("\n"), 1)  # splitlines would cut a row at U+2028 in its text
        if line.strip()
    ]
    if not rows:
        raise UserError(f"{file} has no rows; write one JSON object a line with image, question and answer.")
    rows = _with_splits(rows)
    _check(rows)
    return tuple(rows)


def of_split(rows: Sequence[TrainingRow], split: str) -> tuple[TrainingRow, ...]:
    """The rows of one split."""
    return tuple(row for row in rows if row.split == split)


def by_image(rows: Sequence[TrainingRow]) -> dict[str, list[TrainingRow]]:
    """Rows by their image's digest, in the order in which the images first occur."""
    groups: dict[str, list[TrainingRow]] = {}
    for row in rows:
        groups.setdefault(row.digest, []).append(row)
    return groups


def by_view(rows: Sequence[TrainingRow]) -> dict[str, list[TrainingRow]]:
    """Rows by `TrainingRow.view`, in the order in which the views first occur."""
    groups: dict[str, list[TrainingRow]] = {}
    for row in rows:
        groups.setdefault(row.view, []).append(row)
    return groups


def set_aside(
    rows: Sequence[TrainingRow], share: float, seed: int
) -> tuple[tuple[TrainingRow, ...], tuple[TrainingRow, ...]]:
    """(what is learnt, what is held out): about `share` of the images, at least two, are held out.

    Which ones depends on the images' digests and the seed alone, not on their order or on other images.
    """
    ranked = sorted({row.digest for row in rows}, key=lambda digest: _rank(digest, str(seed)))
    held = set(ranked[: max(2, round(share * len(ranked)))])
    return (
        tuple(row for row in rows if row.digest not in held),
        tuple(row for row in rows if row.digest in held),
    )


def _row(line: str, place: str, images: Path, set_name: str, digests: dict[Path, str]) -> TrainingRow:
    """The row in one line. digests: of the images so far, extended by this one. Raises UserError."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON ({error}).") from None
    if not isinstance(fields, dict):
        raise UserError(f'{place} is not a JSON object; rows look like {{"image": …, "question": …}}.')
    name = _text(fields, "image", place, MAX_QUESTION)
    question, answer = (
        _text(fields, "question", place, MAX_QUESTION),
        _text(fields, "answer", place, MAX_ANSWER),
    )
    kind = _text(fields, "type", place, MAX_TYPE, DEFAULT_TYPE)
    split = _text(fields, "split", place, 16, "")
    if split not in ("", TRAIN, VALIDATION):
        raise UserError(f'{place} has the split {split!r}; use "{TRAIN}", "{VALIDATION}" or none at all.')
    image = images / (path_in_url(name) or name)
    if image not in digests:
        try:
            file, number = split_page(image)
            digest = file_digest(file)
            digests[image] = digest if number is None else page_digest(digest, number)
        except (OSError, ValueError) as error:  # ValueError: of a path with a NUL or half of a surrogate pair
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"{place}: the image {shortened(str(image), 300)} cannot be read ({reason})."
            ) from None
    return TrainingRow(
        image, digests[image], question, answer, kind, split, place, set_name, _labels(fields, place)
    )


def _text(fields: Mapping[str, Any], key: str, place: str, longest: int, default: str | None = None) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise UserError(f"{place} has no text for {key!r}; rows need image, question and answer.")
    if len(value) > longest:
        raise UserError(f"{place} has a {key} of {len(value)} characters; at most {longest} are used.")
    return value


def _labels(fields: Mapping[str, Any], place: str) -> dict[str, str]:
    """The labels of a row. Raises UserError when they are not words by name."""
    labels = fields.get("labels", {})
    fits = isinstance(labels, dict) and all(
        _LABEL_NAME.fullmatch(name) and isinstance(word, str) and 0 < len(word) <= MAX_TYPE
        for name, word in labels.items()
    )
    if not fits:
        raise UserError(f"{place} has labels that are no object of names and words.")
    return dict(labels)


def _with_splits(rows: list[TrainingRow]) -> list[TrainingRow]:
    """The rows with a split each. Raises UserError when only some rows have one."""
    said = [row for row in rows if row.split]
    if said and len(said) < len(rows):
        lacking = next(row for row in rows if not row.split)
        raise UserError(f"{lacking.place} has no split while others have one; give all rows one, or none.")
    if said:
        return rows
    ranked = sorted({row.digest for row in rows}, key=lambda digest: _rank(digest, ""))
    held = set(ranked[: max(1, round(VALIDATION_SHARE * len(ranked)))])
    return [replace(row, split=VALIDATION if row.digest in held else TRAIN) for row in rows]


def _check(rows: Sequence[TrainingRow]) -> None:
    """Raise UserError for an image in both splits, and for a question with two answers."""
    split_of: dict[str, str] = {}
    for row in rows:
        if split_of.setdefault(row.digest, row.split) != row.split:
            raise UserError(f"{row.place}: the image {row.image} is in both splits; keep it in one.")
    seen: dict[tuple[str, str], TrainingRow] = {}
    for row in rows:
        other = seen.setdefault((row.digest, row.question), row)
        if other.answer != row.answer:
            raise UserError(f"{row.place} answers the same question otherwise than {other.place}; keep one.")


def _rank(digest: str, salt: str) -> str:
    """A number (hex) that orders images at random, always in the same way."""
    return hashlib.sha256(f"{digest} {salt}".encode()).hexdigest()
