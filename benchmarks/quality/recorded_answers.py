"""Recorded answers of a cloud, for evaluations that ask none: a file of rows, or an oracle made from the data.

A row has image, question and answer, and may have seconds, joules and money; a predictions file of `edge-app eval`
is read as well (its time is timing_ms.total). An oracle always knows. Sends nothing anywhere.
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
class Recorded:
    """seconds, joules, money: None where the file does not say."""

    answer: str
    seconds: float | None = None
    joules: float | None = None
    money: float | None = None


Key = tuple[str, str]
"""Image, as the rows have it, and question."""


def oracle(rows: Sequence[EvaluationRow]) -> dict[Key, Recorded]:
    return {(row.image, row.question): Recorded(row.answer) for row in rows}


def write_answers(file: Path, answers: Mapping[Key, Recorded]) -> None:
    lines = [
        json.dumps({"image": image, "question": question, "answer": recorded.answer}, ensure_ascii=False)
        for (image, question), recorded in answers.items()
    ]
    write_whole(file, ("\n".join(lines) + "\n").encode())


def read_answers(file: Path) -> dict[Key, Recorded]:
    """Raises UserError, with file and line, for what is no answer."""
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


def of_row(answers: Mapping[Key, Recorded], row: EvaluationRow, expected: Expected) -> tuple[bool, Expected]:
    """Whether the recorded answer is right, and what it cost. expected: taken for what the file does not say.

    Raises UserError when there is none for this row.
    """
    recorded = answers.get((row.image, row.question))
    if recorded is None:
        raise UserError(f"The cloud's answers have none for {row.image}, {row.question!r}.")
    cost = Expected(
        correct=expected.correct,
        seconds=expected.seconds if recorded.seconds is None else recorded.seconds,
        joules=expected.joules if recorded.joules is None else recorded.joules,
        money=expected.money if recorded.money is None else recorded.money,
    )
    return is_right(row.type, row.answer, recorded.answer), cost


def _answer(line: str, place: str) -> tuple[Key, Recorded]:
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
    return (image, question), Recorded(answer, **costs)


def _number(value: Any, name: str, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UserError(f"{place}: {name} must be a number of at least 0.")
    return float(value)
