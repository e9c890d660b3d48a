"""`python -m benchmarks.quality.pages.document_questions`: answers of the plain model about letters and receipts.

Letters and screens are drawn from a seed (benchmarks.quality.pages.drawn_pages). Rows of a file such as receipts.jsonl
are asked without their adapter. Every question is asked twice: with the text of the image read, and without.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.pages.drawn_pages import PageQuestion, drawn_questions
from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.evaluation.calibration import auroc, calibration_error
from edge_app.evaluation.rows import read_rows
from edge_app.settings import for_this_process
from models.core.errors import UserError
from models.core.images import load_image
from models.core.types import Box, Image
from models.ocr.page_layout import PageText
from models.scoring.answer_rules import is_right, normalise

WORDING = {
    "total": "How much had to be paid in total?",
    "date": "When was this receipt issued?",
    "company": "What is the name of the shop?",
}
"""Questions about rows, by their type. Rows of other types are left out."""


@dataclass(frozen=True)
class AskedQuestion:
    """A question and its answer. how: "field", "model" or "declined". holds: the known answer occurs in the answer."""

    group: str
    question: str
    expected: str
    answer: str
    how: str
    right: bool
    holds: bool
    confidence: float | None
    mean_logprob: float | None
    min_logprob: float | None
    ocr: float | None
    in_text: float | None


def row_questions(file: Path, split: str, most: int) -> Iterator[tuple[PageQuestion, str]]:
    """Questions about the first rows of a split, with their types."""
    rows = [row for row in read_rows([file], None, split, None) if row.type in WORDING]
    for row in rows[:most]:
        yield PageQuestion(file.stem, load_image(row.file), WORDING[row.type], row.answer), row.type


class NoReader:
    """Reads nothing in any image."""

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        del image, cancel
        return PageText(())

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        del image, cancel
        return None

    def glance(self, image: Image, cancel: threading.Event | None = None) -> list[Box]:
        del image, cancel
        return []


def ask(assistant: Assistant, asked: PageQuestion, kind: str) -> AskedQuestion:
    """Asks the plain model."""
    answer = assistant.ask(asked.question, asked.image, adapter="none", mode="fast")
    right = is_right(kind, asked.answer, answer.text.strip())
    evidence = answer.evidence
    return AskedQuestion(
        asked.group,
        asked.question,
        asked.answer,
        answer.text,
        _how(answer),
        right,
        right or normalise(asked.answer) in normalise(answer.text),
        answer.confidence,
        answer.mean_logprob,
        answer.min_logprob,
        evidence.ocr if evidence else None,
        evidence.in_text if evidence else None,
    )


def _how(answer: Answer) -> str:
    if answer.declined:
        return "declined"
    return "field" if answer.evidence is None else "model"


def summary(answers: Sequence[AskedQuestion]) -> dict[str, Any]:
    """Right answers by group and by who gave them, and how well confidence and log-probabilities tell them apart."""

    def counts(some: Sequence[AskedQuestion]) -> dict[str, int]:
        return {"asked": len(some), "right": sum(a.right for a in some), "holds": sum(a.holds for a in some)}

    judged = [a for a in answers if a.confidence is not None]
    generated = [a for a in judged if a.mean_logprob is not None]
    right = [a.right for a in judged]
    return {
        **{
            group: counts([a for a in answers if a.group == group]) for group in {a.group: 0 for a in answers}
        },
        **{how: counts([a for a in answers if a.how == how]) for how in ("field", "model", "declined")},
        "all": counts(answers),
        "auroc_confidence": auroc([a.confidence or 0.0 for a in judged], right),
        "ece": calibration_error([a.confidence or 0.0 for a in judged], right) if judged else None,
        "auroc_mean_logprob": auroc([a.mean_logprob or 0.0 for a in generated], [a.right for a in generated]),
        "auroc_min_logprob": auroc([a.min_logprob or 0.0 for a in generated], [a.right for a in generated]),
        "auroc_in_text": auroc([a.in_text or 0.0 for a in generated], [a.right for a in generated]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.pages.document_questions", description=__doc__
    )
    parser.add_argument("--seed", type=int, default=2, help="1 was used for choosing")
    parser.add_argument(
        "--pages", type=int, default=33, help="letters and screens to draw, two questions each"
    )
    parser.add_argument("--rows-of", type=Path, metavar="FILE.jsonl", help="more questions, about these rows")
    parser.add_argument("--split", default="train")
    parser.add_argument("--rows", type=int, default=34, help="the first so many of them")
    parser.add_argument("--out", type=Path, metavar="OUT.jsonl", help="write every answer there")
    options = parser.parse_args()
    try:
        questions = [(asked, "text") for asked in drawn_questions(options.seed, options.pages, 2)]
        if options.rows_of is not None:
            questions += row_questions(options.rows_of, options.split, options.rows)
        for name, reader in (("with text", None), ("without text", NoReader())):
            with Assistant(for_this_process(), None, reader=reader) as assistant:
                answers = [ask(assistant, asked, kind) for asked, kind in questions]
            print(json.dumps({"run": name, **summary(answers)}), flush=True)
            if options.out is not None:
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.writelines(json.dumps({"run": name, **asdict(a)}) + "\n" for a in answers)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
