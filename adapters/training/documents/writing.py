"""Writes a folder of pages with their questions, in the schema that training and `eval` read.

documents.jsonl has the split train, and val with pages in the words of training. documents_unseen.jsonl is for
evaluation only (its split is val): kinds, layouts, names and wordings are others. Equal seeds give equal files.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image

from adapters.training.documents.composing import compose
from adapters.training.documents.drawing import as_read, draw, photographed
from adapters.training.documents.open_pages.composing_open import compose_open
from adapters.training.documents.page import Kind
from adapters.training.documents.receipts import receipt_questions
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.images import load_image
from models.ocr.page_layout import PageText
from models.ocr.prompt_text import as_prompt_lines
from models.ocr.reader import OcrCache, TextReader


@dataclass(frozen=True)
class PageCounts:
    """Pages by split. read: more training pages, whose text is really read. open: more of them, with made-up labels
    (see open_pages). Every second page but those of `train` and `open` is a photo of a page."""

    train: int
    read: int
    val: int
    unseen: int
    open: int = 0


def write_pages(out: Path, seed: int, counts: PageCounts, cache: OcrCache) -> Iterator[int]:
    """Draw all pages into `out` and write both files of rows; yields the number of pages done.

    cache: gets the text of the training pages, with the faults of a reader, so that training need not read them.
    Rows: image, question, answer, split, type. Raises UserError when the disk refuses.
    """
    rows: dict[str, list[dict[str, Any]]] = {"documents": [], "documents_unseen": []}
    done = 0
    for split, count in (
        ("train", counts.train),
        ("read", counts.read),
        ("val", counts.val),
        ("unseen", counts.unseen),
        ("open", counts.open),
    ):
        for number in range(count):
            name, unseen = f"{split}_{number + 1:04}", split == "unseen"
            learnt = split in ("train", "read", "open")
            make = compose_open if split == "open" else partial(compose, unseen=unseen, learnt=learnt)
            page = make(f"{seed} {name}")
            drawn = draw(page, f"{seed} {name} drawn")
            known = split in ("train", "open")
            photo = not known and number % 2 == 1
            picture = photographed(drawn.picture, f"{seed} {name} photo") if photo else drawn.picture
            data = _jpeg(picture)
            write_whole(out / f"{name}.jpg", data)
            if known:
                cache.add(hashlib.sha256(data).hexdigest(), as_read(drawn.text, f"{seed} {name} read"))
            common = {"image": f"{name}.jpg", "split": "train" if learnt else "val"}
            rows["documents_unseen" if unseen else "documents"] += _rows(common, page.questions)
            done += 1
            yield done
    for name, written in rows.items():
        _write_rows(out / f"{name}.jsonl", written)
    cache.save()


def write_receipts(out: Path, source: Path, cache: OcrCache, reader: TextReader) -> Iterator[int]:
    """Write receipts.jsonl and receipts_unseen.jsonl about the receipts of a file; yields the number of receipts done.

    source: rows with image, split, company, date and total, such as receipts_ocr.jsonl. cache: what was read in them,
    extended by what is read now. Rows have absolute paths, and the wordings of evaluation in the split val.
    Raises UserError for a file that cannot be read.
    """
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    try:
        entries = [
            json.loads(each) for each in source.read_text(encoding="utf-8").split("\n") if each.strip()
        ]
        for done, entry in enumerate(entries, 1):
            image = load_image(source.parent / entry["image"])
            page = cache.read(image, reader)
            questions = receipt_questions(
                entry["image"], text_rows(page), entry, unseen=entry["split"] == "val"
            )
            common = {"image": str(source.parent.absolute() / entry["image"]), "split": entry["split"]}
            rows[entry["split"]] += _rows(common, questions)
            yield done
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{source} cannot be used ({error}); it needs rows like those of receipts_ocr.jsonl."
        ) from None
    cache.save()
    _write_rows(out / "receipts.jsonl", rows["train"])
    _write_rows(out / "receipts_unseen.jsonl", rows["val"])


def text_rows(page: PageText) -> list[str]:
    """The text of a page as prompts have it, row by row, none left out."""
    return as_prompt_lines(page, limit_characters=20_000).splitlines()


def _rows(
    common: dict[str, str], questions: list[tuple[str, str, Kind]] | tuple[tuple[str, str, Kind], ...]
) -> list[dict[str, Any]]:
    return [
        {**common, "question": question, "answer": answer, "type": kind}
        for question, answer, kind in questions
    ]


def _write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    write_whole(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())


def _jpeg(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
