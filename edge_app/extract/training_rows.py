"""Reviewed pages as rows that `adapters train` takes: a page, what is asked, and the answer that the user accepted."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from edge_app.extract.sources import PageJob
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import Asked
from edge_app.image_sources import ImageBytes
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.images import load_image
from models.core.png_text import png_file

TYPE = "extract"
"""The type of the questions."""


def write_training_rows(file: Path, asked: Asked, jobs: Sequence[PageJob], store: ExtractStore) -> int:
    """Writes a row for each page whose fields were all accepted or corrected, and returns how many there are.

    A page that is not an image file of its own, such as one of a PDF, is saved as a PNG file in a folder beside the
    rows. Raises UserError when the disk refuses. Pages that can no longer be read are left out.
    """
    if not file.absolute().parent.is_dir():
        raise UserError(f"There is no folder {file.parent} to write {file.name} to; make it first.")
    lines: dict[tuple[str, int], str] = {}
    for job in jobs:
        if job.digest is None or (job.digest, job.page) in lines:
            continue
        known = store.reviewed(job.digest, job.page, asked.keys)
        if len(known) < len(asked.keys):
            continue
        image = _image(job, file)
        answer = asked.text([known[key].value for key in asked.keys])
        if image is None or not answer:
            continue
        row = {"image": image, "question": asked.question, "answer": answer, "type": TYPE}
        lines[job.digest, job.page] = json.dumps(row, ensure_ascii=False) + "\n"
    write_whole(file, "".join(lines.values()).encode("utf-8", "replace"))
    return len(lines)


def _image(job: PageJob, rows: Path) -> str | None:
    """The path of a page's image, relative to the folder of the rows; None when it cannot be read any more."""
    try:
        picture = job.picture()
    except UserError:
        return None
    folder = rows.absolute().parent
    if isinstance(picture, Path):
        image = picture.absolute()
    else:
        if isinstance(picture, ImageBytes):
            picture = png_file(load_image(picture.data, picture.name))
        assert isinstance(picture, bytes), "a page of a document is a PNG file"
        image = folder / f"{rows.stem}_pages" / f"{(job.digest or '')[:16]}-{job.page}.png"
        write_whole(image, picture)
    return os.path.relpath(image, folder) if image.is_relative_to(folder) else str(image)
