"""Recorded answers of a cloud, so that an evaluation makes no request: from a file of rows, or the data's own answers.

A row of the file is a JSON object with image, question and answer, and optionally seconds, joules and money. A
predictions file of `edge-app eval` is accepted too; its seconds are timing_ms.total.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.evaluation.rows import EvaluationRow
from models.core.errors import UserError
from models.core.files import write_whole
from models.scoring.answer_rules import is_right
from router.place_policy import Expected


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer of the cloud. seconds, joules, money: its cost; None where the file has none."""

    answer: str
    seconds: float | None = None
    joules: float | None = None
    money: float | None = None


Key = tuple[str, str]
"""(image, as the rows spell it, question)"""


def oracle(rows: Sequence[EvaluationRow]) -> dict[Key, RecordedAnswer]:
    """Answers of a cloud that is always right: those of the data. Questions out of scope and chat have none."""
    return {(row.image, row.question): RecordedAnswer(row.answer) for row in rows if row.scope == "in"}


def write_answers(file: Path, answers: Mapping[Key, RecordedAnswer]) -> None:
    """Write the answers without their costs. Raises UserError when the disk refuses."""
    lines = [
        json.dumps({"image": image, "question": question, "answer": recorded.answer}, ensure_ascii=False)
        for (image, question), recorded in answers.items()
    ]
    write_whole(file, ("\n".join(lines) + "\n").encode())


def read_answers(file: Path) -> dict[Key, RecordedAnswer]:
    """Read a file of answers. Raises UserError, with file and line, for a line that is not one."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            key, recorded = _answer(line, f"{file}, line {number}")
            found[key] = recorded
    return found


def of_row(
    answers: Mapping[Key, RecordedAnswer], row: EvaluationRow, expected: Expected
) -> tuple[bool | None, Expected]:
    """Whether the recorded answer of a row is right, and its cost. expected: costs where the file has none.

    Out of scope and in chat no right answer is known, so that an answer's rightness is None and it may be missing.
    Raises UserError when another row has no recorded answer.
    """
    recorded = answers.get((row.image, row.question))
    if recorded is None and row.scope != "in":
        return None, expected
    if recorded is None:
        raise UserError(f"The cloud's answers have none for {row.image}, {row.question!r}.")
    cost = Expected(
        correct=expected.correct,
        seconds=expected.seconds if recorded.seconds is None else recorded.seconds,
        joules=expected.joules if recorded.joules is None else recorded.joules,
        money=expected.money if recorded.money is None else recorded.money,
    )
    return is_right(row.type, row.answer, recorded.answer) if row.scope == "in" else None, cost


def _answer(line: str, place: str) -> tuple[Key, RecordedAnswer]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON ({error}).") from error
    names = ("image", "question", "answer")
    if not isinstance(fields, dict) or not all(isinstance(fields.get(name), str) for name in names):
        raise UserError(f"{place} is no answer; rows need texts for image, question and answer.")
    image, question, answer = (str(fields[name]) for name in names)
    timing = fields.get("timing_ms")
    if isinstance(timing, dict) and isinstance(timing.get("total"), int | float):
        fields.setdefault("seconds", timing["total"] / 1000)
    costs = {name: _number(fields.get(name), name, place) for name in ("seconds", "joules", "money")}
    return (image, question), RecordedAnswer(answer, **costs)


def _number(value: Any, name: str, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UserError(f"{place}: {name} must be a number of at least 0.")
    return float(value)
