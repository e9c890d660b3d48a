"""Runs the assistant over rows of questions with known answers, and counts the right ones.

Rows are JSON objects, one a line, with at least image, question and answer; type and split are optional.
Predictions are written as they are made, so that an interrupted run continues where it stopped.
models.scoring.answer_rules decides which answers are right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from adapters.spec import checked_spec
from adapters.store.adapter_store import RESERVED, AdapterStore
from adapters.training.data import DEFAULT_TYPE
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.costs.energy import Energy, EnergyMeter, Power
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.events import Answered, Failed, Progress
from edge_app.images.image_detail import ImageDetail
from edge_app.system import paths
from models.core.errors import UserError
from models.core.files import path_in_url
from models.hub.store import ModelStore
from models.scoring.answer_rules import is_right, marks

FIELDS = ("image", "question", "answer", "type")

Scope = Literal["in", "out", "chat"]
"""Whether a question about an image can be answered here. "chat" is not about the image."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class EvaluationRow:
    """A question with its known answer.

    set: the name of its file, without the suffix. image: the path as it is written in the file; empty for a question
        without an image. file: the image file.
    scope: of the question; no answer is right out of scope and in chat. author: who wrote the question; None for the
    rows of a file.
    """

    set: str
    image: str
    file: Path
    question: str
    answer: str
    type: str
    scope: Scope = "in"
    author: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.image, self.question, self.type, self.answer)


@dataclass(frozen=True)
class EvaluationOptions:
    """Everything that changes the answers. Predictions made with other options are not used.

    model: its name. adapter: a name, a sum, "auto" or "none". blind: without the images. no_words: without the text
    made from the images. max_tokens: the longest answer. system: the system prompt. weights: see weights_identity.
    cloud: the model and endpoint that may be asked; None when none may. detail: how closely images are looked at.
    """

    model: str
    adapter: str
    mode: str
    blind: bool
    no_words: bool
    max_tokens: int
    system: str | None = None
    weights: str = ""
    cloud: str | None = None
    detail: ImageDetail = "auto"


@dataclass(frozen=True)
class Prediction:
    """An answered row, as a line of the predictions file.

    expected: the known answer. declined, calibrated, timing_ms: as in `ask --json`. options: the fields of
    EvaluationOptions. evidence: the fields of router.confidence.rule.Evidence; None for an answer of the cloud and for
    a built-in reply. energy: the fields of edge_app.costs.energy.Energy, measured on this machine.
    """

    image: str
    question: str
    answer: str
    expected: str
    type: str
    correct: bool
    adapter: str | None
    place: str
    confidence: float | None
    mean_logprob: float | None
    min_logprob: float | None
    timing_ms: Mapping[str, float | None]
    options: Mapping[str, Any]
    evidence: Mapping[str, Any] | None
    energy: Mapping[str, Any]
    declined: bool = False
    calibrated: bool = False


@dataclass(frozen=True)
class Score:
    """A line of the table.

    type: a type of question, or another mark of its answers (models.scoring.answer_rules.marks). rows, correct: counts.
    majority: the right answers when majority_answer, the most frequent known answer, is always given. adapters: the
    number of rows that each adapter answered, most first; "none" is the model alone.
    """

    set: str
    type: str
    rows: int
    correct: int
    majority: int
    majority_answer: str
    adapters: Mapping[str, int]


def read_rows(
    files: Sequence[Path], images: Path | None, split: str | None, limit: int | None
) -> tuple[EvaluationRow, ...]:
    """The rows of all files. Raises UserError with file and line for a malformed row, or when a file has no rows.

    images: the folder that image paths are relative to; None takes the folder of each file. split: only rows of this
    split; None takes all. limit: the most rows of each file.
    """
    return tuple(row for file in files for row in _rows_of(file, images, split, limit))


def _rows_of(file: Path, images: Path | None, split: str | None, limit: int | None) -> list[EvaluationRow]:
    rows: list[EvaluationRow] = []
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    for number, line in enumerate(lines, 1):
        if limit is not None and len(rows) >= limit:
            break
        if not line.strip():
            continue
        fields = _fields(line, f"{file}, line {number}")
        if split is None or fields.get("split") == split:
            where = (images or file.parent) / (path_in_url(fields["image"]) or fields["image"])
            rows.append(
                EvaluationRow(
                    file.stem, fields["image"], where, fields["question"], fields["answer"], fields["type"]
                )
            )
    if not rows:
        raise UserError(f"{file} has no rows" + (f" of the split {split!r}." if split else "."))
    return rows


def _fields(line: str, place: str) -> dict[str, str]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON ({error}).") from error
    if isinstance(fields, dict):
        fields.setdefault("type", DEFAULT_TYPE)
    for name in FIELDS:
        if not isinstance(fields, dict) or not isinstance(fields.get(name), str):
            raise UserError(f"{place} has no text for {name!r}; rows need image, question and answer.")
    checked: dict[str, str] = fields
    return checked


def evenly_spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, at even distances, in their order."""
    step = max(len(items) / most, 1.0)
    return [items[int(number * step)] for number in range(min(len(items), most))]


def evaluate(
    assistant: Assistant, rows: Sequence[EvaluationRow], options: EvaluationOptions, predictions: Path | None
) -> Iterator[tuple[EvaluationRow, Prediction] | Progress]:
    """Yields each row with its prediction, in the order of the rows, and Progress events in between.

    predictions: a file of predictions; its answers are used, and new ones are appended. None writes nothing.
    Raises UserError, naming the row, for a turn that fails, and for a predictions file made with other options.
    """
    done = _read_predictions(predictions, options) if predictions else {}
    meter = EnergyMeter(Power(assistant.settings.watts_busy, assistant.settings.watts_waiting))
    for row in rows:
        prediction = done.get(row.key)
        if prediction is None:
            answer, before = None, meter.now()
            for event in assistant.answer(_turn(row, assistant, options)):
                if isinstance(event, Progress):
                    yield event
                elif isinstance(event, Failed):
                    raise _failure(event, row)
                elif isinstance(event, Answered):
                    answer = event.answer
            assert answer is not None, "a turn ends in an answer or a failure"
            prediction = _prediction(row, answer, options, meter.since(before))
            if predictions:
                _append(predictions, prediction)
        yield row, prediction


def weights_identity(model: str, adapter: str) -> str:
    """A string that identifies the files of the model and of the adapters that may answer.

    adapter: a name, a sum, "none", or "auto" for all installed ones. Raises UserError for an adapter that is not
    installed.
    """
    models = ModelStore(paths.models_directory())
    identity = models.identity(model)
    store = AdapterStore(paths.adapters_directory())
    installed = store.names()
    names = (installed if adapter == "auto" else ()) if adapter in RESERVED else None
    if names is None:
        names = checked_spec(adapter, installed).names
    if not names:
        return identity
    bases = AdapterBases(store)
    used = sorted({bases.of(name, model) for name in bases.usable(names, model)} - {model})
    signatures = repr([(name, store.signature(name)) for name in names])
    if used:
        signatures += repr([(base, models.identity(base)) for base in used])
    return f"{identity}+{hashlib.sha256(signatures.encode()).hexdigest()[:16]}"


def score(results: Sequence[tuple[EvaluationRow, Prediction]]) -> tuple[Score, ...]:
    """The table: a line for each set, type and mark, in the order in which they first occur."""
    groups: dict[tuple[str, str], list[tuple[EvaluationRow, Prediction]]] = defaultdict(list)
    for row, prediction in results:
        groups[row.set, row.type].append((row, prediction))
    return tuple(line for (name, kind), members in groups.items() for line in _scores(name, kind, members))


def _scores(name: str, kind: str, members: Sequence[tuple[EvaluationRow, Prediction]]) -> list[Score]:
    """The lines of a set and type: the type itself, then each further mark of its answers."""
    ((commonest, _),) = Counter(row.answer for row, _ in members).most_common(1)
    given = [marks(kind, row.answer, prediction.answer) for row, prediction in members]
    always = [marks(kind, row.answer, commonest) for row, _ in members]
    adapters = Counter(prediction.adapter or "none" for _, prediction in members)
    return [
        Score(
            set=name,
            type=mark,
            rows=len(members),
            correct=sum(each.get(mark, False) for each in given),
            majority=sum(each.get(mark, False) for each in always),
            majority_answer=commonest,
            adapters=dict(adapters.most_common()),
        )
        for mark in dict.fromkeys(mark for each in given for mark in each)
    ]


def _turn(row: EvaluationRow, assistant: Assistant, options: EvaluationOptions) -> Turn:
    return Turn(
        question=row.question,
        images=(row.file,) if row.image else (),
        adapter=options.adapter,
        mode=assistant.settings.mode,
        allow_cloud=options.cloud is not None,
        see_images=not options.blind,
        use_words=not options.no_words,
        detail=options.detail,
    )


def _prediction(row: EvaluationRow, answer: Answer, options: EvaluationOptions, energy: Energy) -> Prediction:
    return Prediction(
        image=row.image,
        question=row.question,
        answer=answer.text,
        expected=row.answer,
        type=row.type,
        correct=is_right(row.type, row.answer, answer.text),
        adapter=answer.adapter,
        place=answer.place,
        confidence=answer.confidence,
        declined=answer.declined,
        calibrated=answer.calibrated,
        mean_logprob=answer.mean_logprob,
        min_logprob=answer.min_logprob,
        timing_ms=asdict(answer.timings),
        options=asdict(options),
        evidence=asdict(answer.evidence) if answer.evidence else None,
        energy=asdict(energy),
    )


def _failure(event: Failed, row: EvaluationRow) -> UserError:
    error = UserError(f"{row.set}, {row.image}: {event.message}")
    error.exit_code = event.exit_code
    return error


def _append(file: Path, prediction: Prediction) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"Cannot write {file}: {error.strerror}.") from error


def _read_predictions(file: Path, options: EvaluationOptions) -> dict[tuple[str, str, str, str], Prediction]:
    """The predictions of an earlier run, by row. An incomplete last line, left by a crash, is removed from the file."""
    if not file.exists():
        return {}
    done: dict[tuple[str, str, str, str], Prediction] = {}
    whole = 0
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            os.truncate(file, whole)
            break
        try:
            prediction = Prediction(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise UserError(f"{file}, line {number} is no prediction; choose another file.") from error
        if {"detail": "auto", **prediction.options} != asdict(
            options
        ):  # earlier files do not name the detail
            raise UserError(f"{file} has predictions made with other options; choose another file.")
        done[prediction.image, prediction.question, prediction.type, prediction.expected] = prediction
        whole += len(line)
    return done
