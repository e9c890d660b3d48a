"""Questions that are tied to a kind of image rather than to one image, and their pairing with images.

A line of the file is a JSON object: kind (the set whose images it is asked about), question, scope ("in", "out" or
"chat"), task (the type of rows that it asks what they ask; null when unknown) and author. A question is paired with an
image of its kind by a hash, so that the pairs are the same on every machine.

Questions of a set without images are asked without one; whether chat is answered well there is not judged.

Out of scope and in chat no answer is right, unless the model declines. In scope the truth is that of the image's rows
of the same task, where it can be told (`known_answer`). Otherwise the question is left out, and counted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from edge_app.evaluation.rows import EvaluationRow, Scope, read_rows
from models.core.errors import UserError
from models.scoring.answer_rules import normalise

DOCUMENT = "document"
"""The task of questions that the text of a page answers. Whether they are in scope depends on what is installed."""

UNANSWERABLE = "unanswerable"
"""The type of the rows out of scope and in chat."""

YES_NO = "yes_no"
_LEAST_LETTERS = 3
_UNCLEAR = frozenset({"or", "not", "no", "never", "without", "isn", "aren", "doesn"})
"""A yes/no question with such a word may mean more than whether the thing that it names is there."""


@dataclass(frozen=True)
class AuthoredQuestion:
    """A line of the file."""

    kind: str
    question: str
    scope: Scope
    task: str | None
    author: str


@dataclass(frozen=True)
class Pairing:
    """rows: the questions with their images. left_out: by reason, the number of questions that have none."""

    rows: tuple[EvaluationRow, ...]
    left_out: Mapping[str, int]


def read_questions(file: Path) -> tuple[AuthoredQuestion, ...]:
    """The questions of a file. Raises UserError with file and line for a malformed one, or when there is none."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    found = tuple(
        _question(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()
    )
    if not found:
        raise UserError(f"{file} has no questions.")
    return found


def read_scopes(files: Sequence[Path]) -> dict[tuple[str, str], float]:
    """The log-odds of scope by (kind, question), from files of the form {kind: {question: log-odds}}.

    `python -m models.training.scope.adjustments --left-out FILE` writes them, by encoders, rules and borders that were
    made without the author. Raises UserError for a file that is not of this form.
    """
    found: dict[tuple[str, str], float] = {}
    for file in files:
        try:
            for kind, own in json.loads(file.read_text(encoding="utf-8")).items():
                found |= {(kind, question): float(value) for question, value in own.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"Cannot read scopes from {file}: {error}.") from error
    return found


def _question(line: str, place: str) -> AuthoredQuestion:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON ({error}).") from error
    for name in ("kind", "question", "scope", "author"):
        if not isinstance(fields, dict) or not isinstance(fields.get(name), str):
            raise UserError(
                f"{place} has no text for {name!r}; questions need kind, question, scope and author."
            )
    if fields["scope"] not in get_args(Scope):
        raise UserError(f"{place}: the scope is {fields['scope']!r}; it must be in, out or chat.")
    task = fields.get("task")
    return AuthoredQuestion(
        fields["kind"],
        fields["question"],
        fields["scope"],
        None if task is None else str(task),
        fields["author"],
    )


def paired(
    questions: Sequence[AuthoredQuestion],
    rows: Sequence[EvaluationRow],
    all_rows: Sequence[EvaluationRow] = (),
) -> Pairing:
    """Each question with an image of the set that is named like its kind.

    rows: of the images to choose from. all_rows: of other images of these sets as well; what can be told from the rows
    of a task is judged by these. Empty for the same rows.
    """
    sets: dict[str, _ImagesOfSet] = {
        name: _ImagesOfSet(
            [row for row in rows if row.set == name], [row for row in all_rows or rows if row.set == name]
        )
        for name in {row.set for row in rows}
    }
    asked, left_out = [], Counter[str]()
    for question in questions:
        images = sets.get(question.kind)
        if images is None:
            left_out[f"no images of {question.kind}"] += 1
        elif question.scope == "chat" and not images.have_images:
            left_out["chat without an image"] += 1
        elif question.task == DOCUMENT and question.scope != "in":
            left_out["about the text of a page"] += 1
        elif (row := images.row_for(question)) is None:
            left_out[f"in scope of {question.kind}, answer not known"] += 1
        else:
            asked.append(row)
    return Pairing(tuple(asked), dict(sorted(left_out.items())))


def with_questions(
    files: Sequence[Path], images: Path | None, split: str | None, limit: int | None, questions: Path | None
) -> Pairing:
    """The rows of the files, then the questions of a file with images of the same split, whatever the limit.

    files, images, split, limit: as for `edge_app.evaluation.rows.read_rows`. questions: None for none.
    """
    rows = read_rows(files, images, split, limit)
    if questions is None:
        return Pairing(rows, {})
    of_split, everything = (read_rows(files, images, part, None) for part in (split, None))
    pairing = paired(read_questions(questions), of_split, everything)
    return replace(pairing, rows=(*rows, *pairing.rows))


class _ImagesOfSet:
    """The images of one set with their rows. all_rows: see `paired`."""

    def __init__(self, rows: Sequence[EvaluationRow], all_rows: Sequence[EvaluationRow]) -> None:
        self._by_image = _by_image(rows)
        self.have_images = any(self._by_image)
        self._ambiguous = {
            row.type
            for own in _by_image(all_rows).values()
            for row in own
            if any(row.type == other.type and row.answer != other.answer for other in own)
        }
        self._labels = _labels(row for row in all_rows if row.type != YES_NO)

    def row_for(self, question: AuthoredQuestion) -> EvaluationRow | None:
        """The row of this question about the first image, in the order of a hash, that has a known answer.

        For half of the yes/no questions it must be yes, for the others no, since most images lack most labels.
        """
        wanted = None
        if question.task == YES_NO:
            wanted = "yes" if _hash(f"answer of {question.question}")[0] % 2 else "no"
        for image in sorted(self._by_image, key=lambda each: _hash(f"{question.question} {each}")):
            own = self._by_image[image]
            if question.scope != "in":
                return _row(own[0], question, "", UNANSWERABLE)
            answer = self.known_answer(question, own)
            if answer is not None and question.task is not None and wanted in (None, answer):
                return _row(own[0], question, answer, question.task)
        return None

    def known_answer(self, question: AuthoredQuestion, own: Sequence[EvaluationRow]) -> str | None:
        """The answer about an image with these rows; None when it cannot be told.

        A task of the set of which every image has one answer, whatever its rows ask, has that answer. A yes/no question
        is resolved by the label that it names. The fields of a `json` answer are answers too.
        """
        if question.task == YES_NO:
            return self._yes_or_no(question.question, own)
        if question.task in self._ambiguous:
            return None
        for row in own:
            if row.type == question.task:
                return row.answer
            if row.type == "json" and question.task is not None:
                field = json.loads(row.answer).get(question.task)
                if isinstance(field, str):
                    return field
        return None

    def _yes_or_no(self, question: str, own: Sequence[EvaluationRow]) -> str | None:
        words = re.findall(r"[a-z]+", question.lower())
        named = {self._labels[word] for word in map(normalise, words) if word in self._labels}
        if len(named) != 1 or _UNCLEAR & set(words):
            return None
        ((task, label),) = named
        answers = {row.answer for row in own if row.type == task}
        return None if not answers else "yes" if label in answers else "no"


def _by_image(rows: Iterable[EvaluationRow]) -> dict[str, list[EvaluationRow]]:
    found: dict[str, list[EvaluationRow]] = defaultdict(list)
    for row in rows:
        found[row.image].append(row)
    return found


def _labels(rows: Iterable[EvaluationRow]) -> dict[str, tuple[str, str]]:
    """(type, answer) by each word that occurs in just one answer of the rows."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        for word in normalise(row.answer).split():
            if len(word) >= _LEAST_LETTERS and word.isalpha():
                found[word].add((row.type, row.answer))
    return {word: next(iter(labels)) for word, labels in found.items() if len(labels) == 1}


def _row(of_image: EvaluationRow, question: AuthoredQuestion, answer: str, kind: str) -> EvaluationRow:
    return EvaluationRow(
        set=of_image.set,
        image=of_image.image,
        file=of_image.file,
        question=question.question,
        answer=answer,
        type=kind,
        scope=question.scope,
        author=question.author,
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
