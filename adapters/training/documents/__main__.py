"""`python -m adapters.training.documents --out DIR --cache DIR`: draws pages, and asks about them and receipts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from adapters.training.data import OCR_FILE
from adapters.training.documents.fields import training_questions
from adapters.training.documents.writing import PageCounts, write_pages, write_receipts
from models.core.errors import UserError
from models.ocr.reader import OcrCache, TextReader

FORM_NOUNS = 10
"""Nouns around which each form is written in --questions."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m adapters.training.documents", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for pages and files of rows")
    parser.add_argument(
        "--cache", type=Path, required=True, help="cache of the app, for the text of the pages"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=1500, help="pages whose text is known without reading")
    parser.add_argument("--read", type=int, default=100, help="more of them, which are read")
    parser.add_argument("--val", type=int, default=40, help="pages in the words of training, to choose by")
    parser.add_argument("--unseen", type=int, default=100, help="pages of other kinds, in other words")
    parser.add_argument("--open", type=int, default=0, help="more for training, whose labels are made up")
    parser.add_argument("--receipts", type=Path, metavar="FILE.jsonl", help="rows such as receipts_ocr.jsonl")
    parser.add_argument(
        "--questions", type=Path, metavar="FILE.jsonl", help="only write questions in all words of training"
    )
    options = parser.parse_args()
    if options.questions is not None:
        lines = (json.dumps({"question": text}) for text in training_questions(FORM_NOUNS))
        options.questions.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return 0
    counts = PageCounts(options.train, options.read, options.val, options.unseen, options.open)
    if min(options.train, options.read, options.val, options.unseen, options.open) < 0:
        parser.error("numbers may not be negative")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        cache = OcrCache(options.cache / OCR_FILE)
        for done in write_pages(options.out, options.seed, counts, cache):
            if done % 100 == 0:
                print(f"{done} pages", file=sys.stderr)
        if options.receipts is not None:
            for done in write_receipts(options.out, options.receipts, cache, TextReader()):
                if done % 20 == 0:
                    print(f"{done} receipts", file=sys.stderr)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
