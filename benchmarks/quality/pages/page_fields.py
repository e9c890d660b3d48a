"""`python -m benchmarks.quality.pages.page_fields receipts_ocr.jsonl`: how many fields of pages are right.

A row has an image, its split, and the value of each field under the field's name, as receipts_ocr.jsonl has company,
date, address and total. Each page is asked for all fields at once, as `ask --fields` does. Values are compared by the
rule of their field's name (models.scoring.answer_rules).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.quality.pages.page_command import counted, page_parser, run_and_print
from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.evaluation.calibration import auroc
from edge_app.schemas.answer_schema import AnswerSchema, schema_of_fields
from edge_app.schemas.fields import parse_fields
from edge_app.settings import for_this_process
from models.core.errors import FileError, UserError
from models.scoring.answer_rules import is_right

FOUR_FIELDS: Final = "company, date:date, address, total:number"


@dataclass(frozen=True)
class ReferencePage:
    """A page and what stands on it. expected: by the names of fields."""

    image: Path
    expected: Mapping[str, str]


@dataclass(frozen=True)
class FieldScore:
    """Values of one field, or all fields of each page ("all of them"). rows: pages.

    right: of these, pages where it is right. empty: pages where it is null. auroc: of its confidence; None when all are
    right, or all wrong.
    """

    name: str
    rows: int
    right: int
    empty: int
    auroc: float | None


@dataclass(frozen=True)
class PageResult:
    """The values given for one page. valid: the answer is a JSON object with the fields in their order.

    right, confidence, value: by field; a value that is null has the confidence 0.
    """

    image: str
    valid: bool
    right: Mapping[str, bool]
    confidence: Mapping[str, float]
    value: Mapping[str, Any]
    expected: Mapping[str, str]


def read_page_rows(file: Path, names: Sequence[str], split: str) -> list[ReferencePage]:
    """The rows of a split. Raises UserError for a file that cannot be read and for a row without one of the fields."""
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        return [
            ReferencePage(file.parent / row["image"], {name: str(row[name]) for name in names})
            for row in rows
            if row["split"] == split
        ]
    except (OSError, ValueError) as error:
        raise FileError(file, f" cannot be read: {error}.") from None
    except (KeyError, TypeError) as error:
        raise FileError(
            file, f" has a row without {error}; each needs image, split and every field."
        ) from None


def judged(row: ReferencePage, answer: Answer, schema: AnswerSchema) -> PageResult:
    """The values of an answer beside those of the page."""
    try:
        values = json.loads(answer.text)
    except ValueError:
        values = {}
    valid = isinstance(values, dict) and tuple(values) == tuple(schema.names)
    value = {name: values.get(name) for name in schema.names} if valid else dict.fromkeys(schema.names)
    confidence = {field.name: field.confidence or 0.0 for field in answer.fields}
    return PageResult(
        row.image.name,
        valid,
        {
            name: value[name] is not None and is_right(name, row.expected[name], str(value[name]))
            for name in schema.names
        },
        {name: confidence.get(name, 0.0) for name in schema.names},
        value,
        row.expected,
    )


def results(
    assistant: Assistant, rows: Sequence[ReferencePage], schema: AnswerSchema, adapter: str
) -> Iterator[PageResult]:
    """Asks for the fields of each page. Raises UserError when a page cannot be read."""
    for row in rows:
        yield judged(row, assistant.ask("", row.image, adapter=adapter, schema=schema), schema)


def scores(pages: Sequence[PageResult]) -> list[FieldScore]:
    """By field, then for all of them, whose confidence is that of the least sure value. pages: at least one."""
    made = []
    for name in pages[0].right:
        right = [page.right[name] for page in pages]
        area = auroc([page.confidence[name] for page in pages], right)
        made.append(
            FieldScore(name, len(pages), sum(right), sum(page.value[name] is None for page in pages), area)
        )
    whole = [all(page.right.values()) for page in pages]
    least = [min(page.confidence.values()) for page in pages]
    nothing = sum(all(each is None for each in page.value.values()) for page in pages)
    return [*made, FieldScore("all of them", len(pages), sum(whole), nothing, auroc(least, whole))]


def table(pages: Sequence[PageResult]) -> str:
    """The scores as text: right and empty in percent of the pages."""
    valid = 100 * sum(page.valid for page in pages) / len(pages)
    lines = [
        f"{len(pages)} pages, valid JSON with the fields: {valid:.1f}%",
        f"{'field':16} right  empty  AUROC",
    ]
    for score in scores(pages):
        area = "    -" if score.auroc is None else f"{score.auroc:5.2f}"
        right, empty = (100 * count / score.rows for count in (score.right, score.empty))
        lines.append(f"{score.name:16} {right:5.1f}  {empty:5.1f}  {area}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table, or JSON. Returns the exit code."""
    parser = page_parser("page_fields", __doc__)
    parser.add_argument("file", type=Path, metavar="ROWS.jsonl")
    parser.add_argument("--fields", default=FOUR_FIELDS, help="names and kinds [default: %(default)s]")
    parser.add_argument("--limit", type=int, help="the first so many pages")
    parser.add_argument("--adapter", default="auto", help="as for `ask` [default: auto]")
    options = parser.parse_args(arguments)

    def ask() -> list[PageResult]:
        schema = schema_of_fields(parse_fields(options.fields))
        rows = read_page_rows(options.file, schema.names, options.split)[: options.limit]
        if not rows:
            raise UserError(f"{options.file} has no rows of the split {options.split!r}.")
        with Assistant(for_this_process(), None) as assistant:
            return list(counted(results(assistant, rows, schema, options.adapter), len(rows), "pages"))

    return run_and_print("page_fields", ask, scores, table, ("scores", "pages") if options.json else None)


if __name__ == "__main__":
    sys.exit(main())
