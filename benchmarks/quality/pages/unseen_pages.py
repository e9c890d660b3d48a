"""`python -m benchmarks.quality.pages.unseen_pages documents_unseen.jsonl`: how often what stands on a page is found.

Rows are those that `python -m adapters.training.documents` writes: image, question, answer, type and split, the type
"absent" for questions that the page does not answer. An answer is right when it is the whole expected one, apart from
case, spaces and dashes that stand alone; to a question of the type "absent", when it declines. The model without an
adapter is asked beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks.quality.pages.page_command import counted, page_parser, run_and_print
from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.evaluation.rows import EvaluationRow, read_rows
from edge_app.settings import for_this_process
from models.core.errors import UserError

ABSENT: Final = "absent"
ANSWERABLE: Final = "answerable"


@dataclass(frozen=True)
class AskedPage:
    """The answer to one row. by: the adapter that was asked, or "none"."""

    set: str
    image: str
    type: str
    by: str
    question: str
    expected: str
    answer: str
    right: bool
    declined: bool
    confidence: float | None


@dataclass(frozen=True)
class PageShare:
    """Of the rows of one set, type and adapter: how many are right, and how many were declined."""

    set: str
    type: str
    by: str
    rows: int
    right: int
    declined: int


def judged(row: EvaluationRow, answer: Answer, by: str) -> AskedPage:
    """An answer beside the expected one."""
    right = answer.declined if row.type == ABSENT else _plain(answer.text) == _plain(row.answer)
    return AskedPage(
        row.set,
        row.image,
        row.type,
        by,
        row.question,
        row.answer,
        answer.text,
        right,
        answer.declined,
        answer.confidence,
    )


def _plain(text: str) -> str:
    """Without case, spaces, and dashes that stand alone, which the text in prompts has not either."""
    return "".join(word for word in text.split() if word.strip("-–—")).casefold()


def first_images(rows: Sequence[EvaluationRow], most: int | None) -> list[EvaluationRow]:
    """The rows of the first images of each set."""
    images: dict[str, dict[str, None]] = {}
    for row in rows:
        images.setdefault(row.set, {})[row.image] = None
    kept = {(name, image) for name, each in images.items() for image in list(each)[:most]}
    return [row for row in rows if (row.set, row.image) in kept]


def answers(assistant: Assistant, rows: Sequence[EvaluationRow], adapter: str) -> Iterator[AskedPage]:
    """Asks every row. Raises UserError when an image cannot be read."""
    for row in rows:
        yield judged(row, assistant.ask(row.question, row.file, adapter=adapter, mode="fast"), adapter)


def shares(asked: Sequence[AskedPage]) -> list[PageShare]:
    """By set, adapter and type; all types but "absent" together are "answerable"."""
    groups: dict[tuple[str, str, str], list[AskedPage]] = {}
    for each in asked:
        groups.setdefault((each.set, each.by, each.type), []).append(each)
        if each.type != ABSENT:
            groups.setdefault((each.set, each.by, ANSWERABLE), []).append(each)
    return [
        PageShare(name, kind, by, len(some), sum(a.right for a in some), sum(a.declined for a in some))
        for (name, by, kind), some in sorted(groups.items())
    ]


def table(asked: Sequence[AskedPage]) -> str:
    """The shares as text, in percent."""
    lines = [f"{'set':22} {'adapter':12} {'question':10}  rows  right  declined"]
    for share in shares(asked):
        right, declined = (100 * count / share.rows for count in (share.right, share.declined))
        lines.append(
            f"{share.set:22} {share.by:12} {share.type:10} {share.rows:5} {right:6.1f}  {declined:8.1f}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Prints the table, or JSON. Returns the exit code."""
    parser = page_parser("unseen_pages", __doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="ROWS.jsonl")
    parser.add_argument("--adapter", default="documents", help="whom to ask [default: documents]")
    parser.add_argument("--pages", type=int, help="the first so many images of each file")
    parser.add_argument(
        "--plain-pages", type=int, default=5, help="of these, so many are asked without adapter [default: 5]"
    )
    options = parser.parse_args(arguments)

    def ask() -> list[AskedPage]:
        rows = first_images(list(read_rows(options.files, None, options.split, None)), options.pages)
        if not rows:
            raise UserError(f"There are no rows of the split {options.split!r}.")
        plain = first_images(rows, options.plain_pages) if options.plain_pages else []
        with Assistant(for_this_process(), None) as assistant:
            asked = chain(answers(assistant, rows, options.adapter), answers(assistant, plain, "none"))
            return list(counted(asked, len(rows) + len(plain), "questions"))

    return run_and_print("unseen_pages", ask, shares, table, ("shares", "answers") if options.json else None)


if __name__ == "__main__":
    sys.exit(main())
