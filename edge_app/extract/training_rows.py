"""Reviewed pages as rows that `adapters train` takes: a page, the question for a field, and the value that is right.

An adapter is asked for each field by a question of its own (edge_app.turns.structured.field_questions), and learns the
value as it is printed on the page, since copying is easier than writing a date or a number in another form.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from adapters.training.data import NOT_ON_THE_PAGE
from edge_app.extract.review import shown
from edge_app.extract.rows import Cell
from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import Asked
from edge_app.images.image_sources import ImageBytes
from edge_app.schemas.fields import Field, typed_value
from edge_app.turns.structured.field_questions import field_question
from models.core.errors import UserError
from models.core.files import write_document
from models.core.images import load_image
from models.core.png_text import png_file

_LONGEST_PRINTED = 4
"""Words of a date or a number as it is printed: "28 December 2017" has three."""

Lines = Callable[[PageJob], Sequence[str]]
"""Reads the lines of text on a page. Raises UserError."""


def write_training_rows(
    file: Path, asked: Asked, jobs: Sequence[PageJob], store: ExtractStore, lines: Lines
) -> int:
    """Writes a row for each field of the reviewed pages, and returns how many pages there are.

    A page counts when all its fields were accepted or corrected and it can still be read. One that is not an image
    file of its own, such as a page of a PDF, is saved as a PNG file in a folder beside the rows. Raises UserError when
    the disk refuses.
    """
    if not file.absolute().parent.is_dir():
        raise UserError(f"There is no folder {file.parent} to write {file.name} to; make it first.")
    written: list[str] = []
    pages: set[tuple[str, int]] = set()
    for job in jobs:
        if job.digest is None or (job.digest, job.page) in pages:
            continue
        known = store.reviewed(job.digest, job.page, asked.keys)
        if len(known) < len(asked.keys):
            continue
        try:
            image, text = _image(job, file), lines(job)
        except UserError:  # the file is gone
            continue
        pages.add((job.digest, job.page))
        for field, key in zip(asked.fields, asked.keys, strict=True):
            row = {
                "image": image,
                "question": asked.question if asked.schema is None else field_question(field, ()),
                "answer": as_printed(field, known[key].value, text),
                "type": field.name,
            }
            written.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_document(file, "".join(written).encode("utf-8", "replace"))
    return len(pages)


def as_printed(field: Field, value: Cell, lines: Sequence[str]) -> str:
    """A value as the page has it: "9.90" for 9.9, "28/12/2017" for 2017-12-28; as it is when it is not found there."""
    if value is None:
        return NOT_ON_THE_PAGE
    if field.kind in ("number", "integer", "date"):
        for line in lines:
            words = re.findall(r"\S+", line)
            for length in range(1, _LONGEST_PRINTED + 1):
                for at in range(len(words) - length + 1):
                    printed = " ".join(words[at : at + length]).strip(".,:;()")
                    if typed_value(field.kind, printed) == value:
                        return printed
    return shown(value)


def _image(job: PageJob, rows: Path) -> str:
    """The path of a page's image, relative to the folder of the rows. Raises UserError when it cannot be read."""
    picture = job.picture()
    folder = rows.absolute().parent
    if isinstance(picture, Path):
        image = picture.absolute()
    else:
        if isinstance(picture, ImageBytes):
            picture = png_file(load_image(picture.data, picture.name))
        assert isinstance(picture, bytes), "a page of a document is a PNG file"
        image = folder / f"{rows.stem}_pages" / f"{(job.digest or '')[:16]}-{job.page}.png"
        write_document(image, picture)
    return os.path.relpath(image, folder) if image.is_relative_to(folder) else str(image)
