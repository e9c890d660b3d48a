"""`python -m benchmarks.quality.question_languages [ROWS.jsonl ...]`: questions that are declined as another language.

Without files it judges the English questions that the question encoder was trained on (models/training/
scope/questions). Rows are JSON objects with a field `question`; a row in another language says so with a code such as
"de" in `language`. Each question counts once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from edge_app.system.terminal_text import text_table
from edge_app.turns.replies.question_language import foreign_language
from models.core.errors import UserError
from models.training.scope.data import read_kinds

ENGLISH = "en"
BUNDLED = "bundled questions"


@dataclass(frozen=True)
class DeclinedShare:
    """Questions of one source in one language. declined: those that are found to be no English."""

    source: str
    language: str
    questions: int
    declined: tuple[str, ...]


def bundled_questions() -> frozenset[str]:
    """The questions of all kinds: their tasks' examples, in scope, out of scope and chat."""
    kinds = read_kinds()
    examples = chain.from_iterable(texts for kind in kinds for texts in kind.tasks.values())
    return frozenset(chain(examples, (question.text for kind in kinds for question in kind.questions)))


def questions_of(file: Path) -> dict[str, frozenset[str]]:
    """The different questions of a file by language. Raises UserError for a file that has none or is malformed."""
    found: dict[str, set[str]] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, language = str(row["question"]), str(row.get("language", ENGLISH))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}, line {number} is no row with a question: {error!r}.") from error
        found.setdefault(language, set()).add(question)
    if not found:
        raise UserError(f"{file} has no questions.")
    return {language: frozenset(questions) for language, questions in found.items()}


def declined_share(source: str, language: str, questions: Iterable[str]) -> DeclinedShare:
    """Judges the questions as the chat does."""
    texts = sorted(questions)
    return DeclinedShare(
        source, language, len(texts), tuple(text for text in texts if foreign_language(text))
    )


def shares(files: Sequence[Path]) -> list[DeclinedShare]:
    """One line for each file and language, and one for all files together when they are several."""
    if not files:
        return [declined_share(BUNDLED, ENGLISH, bundled_questions())]
    read = [(file.name, questions_of(file)) for file in files]
    found = [
        declined_share(name, language, questions)
        for name, by_language in read
        for language, questions in sorted(by_language.items())
    ]
    if len(files) > 1:
        for language in sorted({line.language for line in found}):
            together = chain.from_iterable(by_language.get(language, ()) for _, by_language in read)
            found.append(declined_share("all", language, frozenset(together)))
    return found


def as_table(lines: Sequence[DeclinedShare]) -> str:
    rows = [("SOURCE", "LANGUAGE", "QUESTIONS", "DECLINED")]
    rows += [(each.source, each.language, str(each.questions), str(len(each.declined))) for each in lines]
    wrong = dict.fromkeys(text for each in lines if each.language == ENGLISH for text in each.declined)
    return "\n".join([text_table(rows, right=(2, 3)), *(f"declined: {text}" for text in wrong)])


def main(arguments: list[str] | None = None) -> int:
    """Returns exit code 0, or 1 when a file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.question_languages", description=__doc__
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="ROWS.jsonl", help="rows with a question each")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        found = shares(options.files)
    except UserError as error:
        print(f"question_languages: {error}", file=sys.stderr)
        return 1
    print(json.dumps([asdict(line) for line in found], indent=2) if options.json else as_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
