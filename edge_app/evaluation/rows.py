"""Runs the real assistant over rows of questions with known answers, and counts.

Rows are JSON objects, one a line, with at least image, question, answer and type (split is optional).
Predictions are written as they come: a run that was stopped goes on where it was. Answers are made by the
assistant as in a chat, images read when their adapter wants it. Knows nothing of how; what counts as right is
models.scoring.answer_rules's business.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.spec import checked_spec
from adapters.store.adapter_store import RESERVED, AdapterStore
from edge_app.assistant import Assistant, Turn
from edge_app.costs.energy import Energy, EnergyMeter, Power
from edge_app.events import Answer, Answered, Failed, Progress
from edge_app.system import paths
from models.core.errors import UserError
from models.hub.store import ModelStore
from models.scoring.answer_rules import is_right, marks

FIELDS = ("image", "question", "answer", "type")


@dataclass(frozen=True)
class Row:
    """A question with its known answer. set: the name of the file it is from. image: as the file says it."""

    set: str
    image: str
    file: Path
    question: str
    answer: str
    type: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.image, self.question, self.type, self.answer)


@dataclass(frozen=True)
class Options:
    """What changes the answers; predictions made with others are not taken over.

    system: the system prompt. weights: see weights_identity. cloud: the endpoint that may be asked, and its
    model; None when none may.
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


@dataclass(frozen=True)
class Prediction:
    """One answered row, as a line of the predictions file. timing_ms: as in `ask --json`. evidence: what the
    local answer can be judged by (router.confidence.rule.Evidence); None for one that came from elsewhere. energy: what
    it took on this machine (edge_app.costs.energy.Energy)."""

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


@dataclass(frozen=True)
class Score:
    """One line of the table. type: a type of question, or what else is counted of it
    (models.scoring.answer_rules.marks).

    majority: right answers when always giving the commonest one of these rows. adapters: how many of the rows
    each adapter answered, "none" being the model alone; the busiest first.
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
) -> tuple[Row, ...]:
    """The rows of all files. images: what image paths are relative to; None is each row's own file's folder.

    limit: the first rows of each file. Raises UserError with file and line for what does not fit.
    """
    return tuple(row for file in files for row in _rows_of(file, images, split, limit))


def _rows_of(file: Path, images: Path | None, split: str | None, limit: int | None) -> list[Row]:
    rows: list[Row] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {file}: {error}.") from error
    for number, line in enumerate(lines, 1):
        if limit is not None and len(rows) >= limit:
            break
        if not line.strip():
            continue
        fields = _fields(line, f"{file}, line {number}")
        if split is None or fields.get("split") == split:
            where = (images or file.parent) / fields["image"]
            rows.append(Row(file.stem, fields["image"], where, *(fields[name] for name in FIELDS[1:])))
    if not rows:
        raise UserError(f"{file} has no rows" + (f" of the split {split!r}." if split else "."))
    return rows


def _fields(line: str, place: str) -> dict[str, str]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is not JSON ({error}).") from error
    for name in FIELDS:
        if not isinstance(fields, dict) or not isinstance(fields.get(name), str):
            raise UserError(f"{place} has no text for {name!r}; rows need {', '.join(FIELDS)}.")
    checked: dict[str, str] = fields
    return checked


def evaluate(
    assistant: Assistant, rows: Sequence[Row], options: Options, predictions: Path | None
) -> Iterator[tuple[Row, Prediction] | Progress]:
    """Answers every row that the predictions file does not have yet; yields all, in their order.

    Progress of pulling and compiling is passed on. Raises UserError for a turn that fails, naming the row,
    and for a predictions file that was made with other options.
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
    """Changes with the model's files and those of the adapters that may answer: the ones named in a sum, or all
    that are installed when the adapter is "auto". Raises UserError for an adapter that is not there."""
    identity = ModelStore(paths.models_directory()).identity(model)
    store = AdapterStore(paths.adapters_directory())
    installed = store.names()
    names = (installed if adapter == "auto" else ()) if adapter in RESERVED else None
    if names is None:
        names = checked_spec(adapter, installed).names
    if not names:
        return identity
    signatures = repr([(name, store.signature(name)) for name in names])
    return f"{identity}+{hashlib.sha256(signatures.encode()).hexdigest()[:16]}"


def score(results: Sequence[tuple[Row, Prediction]]) -> tuple[Score, ...]:
    """Counts by set and type, in the order in which they first occur."""
    groups: dict[tuple[str, str], list[tuple[Row, Prediction]]] = defaultdict(list)
    for row, prediction in results:
        groups[row.set, row.type].append((row, prediction))
    return tuple(line for (name, kind), members in groups.items() for line in _scores(name, kind, members))


def _scores(name: str, kind: str, members: Sequence[tuple[Row, Prediction]]) -> list[Score]:
    """One line for the type itself, then one for each further mark of its answers."""
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


def _turn(row: Row, assistant: Assistant, options: Options) -> Turn:
    return Turn(
        question=row.question,
        images=(row.file,),
        adapter=options.adapter,
        mode=assistant.settings.mode,
        allow_cloud=options.cloud is not None,
        see_images=not options.blind,
        use_words=not options.no_words,
    )


def _prediction(row: Row, answer: Answer, options: Options, energy: Energy) -> Prediction:
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
        mean_logprob=answer.mean_logprob,
        min_logprob=answer.min_logprob,
        timing_ms=asdict(answer.timings),
        options=asdict(options),
        evidence=asdict(answer.evidence) if answer.evidence else None,
        energy=asdict(energy),
    )


def _failure(event: Failed, row: Row) -> UserError:
    error = UserError(f"{row.set}, {row.image}: {event.message}")
    error.exit_code = event.exit_code
    return error


def _append(file: Path, prediction: Prediction) -> None:
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(prediction), ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"Cannot write {file}: {error.strerror}.") from error


def _read_predictions(file: Path, options: Options) -> dict[tuple[str, str, str, str], Prediction]:
    """What an earlier run answered. A line that a crash cut short is cut off the file."""
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
        if prediction.options != asdict(options):
            raise UserError(f"{file} has predictions made with other options; choose another file.")
        done[prediction.image, prediction.question, prediction.type, prediction.expected] = prediction
        whole += len(line)
    return done
