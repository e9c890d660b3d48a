"""Learns one domain after another and measures accuracy on all domains learnt so far after each.

Three ways are compared on the same training budget for each domain:
(a) "sequence": one LoRA, trained further from domain to domain;
(b) "isolated": an adapter for each domain, each trained from the same frozen base, with the right one given;
(c) "routed": the adapters of (b) with the router's choice among those learnt so far.

The measures are in benchmarks/quality/continual/measures.py. Adapters and predictions are kept in one folder, so that
a stopped run continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.quality.continual.measures import Stage, mean
from edge_app.assistant import Assistant, Turn
from edge_app.evaluation.rows import EvaluationOptions, EvaluationRow, Prediction, evaluate, read_rows
from edge_app.events import Failed, Progress, Routed
from models.core.errors import UserError
from models.core.files import file_digest, read_json, written_to

SEQUENCE = "sequence"
"""The name under which the LoRA of way (a) is installed."""

_STATE = "state.json"


class Trainer(Protocol):
    """A function that trains an adapter."""

    def __call__(self, file: Path, name: str, out: Path, start_from: Path | None) -> None:
        """Train on the train rows of a file and write the adapter to the folder `out`, complete or not at all.

        start_from: folder of the adapter whose training is continued; None for a new one. `out` must not exist.
        """
        ...


@dataclass(frozen=True)
class ContinualPlan:
    """What is learnt, and how it is measured.

    files: rows of each domain, with the splits train and val. orders: each of all domains. rows: validation rows of a
    domain. budget: description of the training budget; a run with another one is not continued. options: settings of
    the answers, such as model and mode.
    """

    files: Mapping[str, Path]
    orders: tuple[tuple[str, ...], ...]
    rows: int
    budget: str
    options: EvaluationOptions


@dataclass(frozen=True)
class Repetition:
    """All rows of the last stage answered once more, by the assistant with adapter "auto".

    rows: their number. same: how many answers equal those that way (c) counted.
    """

    rows: int
    same: int


class ContinualRun:
    """A run whose state is in one folder. installed: the directory of the assistant's installed adapters."""

    def __init__(
        self, plan: ContinualPlan, folder: Path, assistant: Assistant, installed: Path, train: Trainer
    ) -> None:
        """Raises UserError when the folder has a run of another plan, or a file has too few rows."""
        self._plan, self._folder, self._assistant = plan, folder, assistant
        self._installed, self._train = installed, train
        self._rows = {domain: spread_rows(file, plan.rows) for domain, file in plan.files.items()}
        _claim(folder, plan)

    def stages(self) -> Iterator[Progress | Stage | Repetition]:
        """Train and measure, reusing what is on disk. Yields each Stage, and the Repetition last."""
        for order in self._plan.orders:
            for number in range(len(order)):
                yield from self._stage(order, number)
        yield from self._repeat(self._plan.orders[-1])

    def _stage(self, order: tuple[str, ...], number: int) -> Iterator[Progress | Stage]:
        learnt = order[: number + 1]
        self._learn(order, number)
        name, folder = self._sequence(order, number)
        self._install({name: folder})
        sequence = []
        for domain in learnt:
            sequence.append((yield from self._accuracy(name, folder, domain)))
        alone = {domain: self._alone(domain) for domain in learnt}
        self._install(alone)
        isolated, routed, right = [], [], 0
        for domain in learnt:
            isolated.append((yield from self._accuracy(domain, alone[domain], domain)))
            share, count = yield from self._routed(alone, domain)
            routed.append(share)
            right += count
        yield Stage(
            order=order,
            number=number,
            accuracy={"sequence": tuple(sequence), "isolated": tuple(isolated), "routed": tuple(routed)},
            digests={domain: folder_digest(path) for domain, path in alone.items()},
            chosen_right=right,
            asked=sum(len(self._rows[domain]) for domain in learnt),
        )

    def _learn(self, order: tuple[str, ...], number: int) -> None:
        """Train the domain's isolated adapter and the next stage of the sequence, unless their folders exist.

        The first stage of the sequence is the first domain's isolated adapter, since start, budget and seed are the
        same.
        """
        domain = order[number]
        trainings: list[tuple[str, Path, Path | None]] = [(domain, self._alone(domain), None)]
        if number:
            _, before = self._sequence(order, number - 1)
            trainings.append((*self._sequence(order, number), before))
        for name, folder, start_from in trainings:
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                self._train(self._plan.files[domain], name, folder, start_from)

    def _alone(self, domain: str) -> Path:
        return self._folder / "isolated" / domain

    def _sequence(self, order: tuple[str, ...], number: int) -> tuple[str, Path]:
        """Name and folder of the sequence's LoRA after a stage."""
        if not number:
            return order[0], self._alone(order[0])
        learnt = "-".join(order[: number + 1])
        return SEQUENCE, self._folder / "sequence" / learnt

    def _install(self, adapters: Mapping[str, Path]) -> None:
        """Replace the installed adapters with these, while the assistant runs."""
        self._installed.mkdir(parents=True, exist_ok=True)
        for entry in list(self._installed.iterdir()):
            shutil.rmtree(entry)
        for name, folder in adapters.items():
            shutil.copytree(folder, self._installed / name)

    def _accuracy(self, name: str, folder: Path, domain: str) -> Generator[Progress, None, float]:
        predictions = yield from self._answers(name, folder, domain)
        return mean([prediction.correct for prediction in predictions])

    def _answers(
        self, name: str, folder: Path | None, domain: str
    ) -> Generator[Progress, None, tuple[Prediction, ...]]:
        """Predictions for a domain's rows, read from disk where the same files have answered before.

        Answers are greedy, so that the same files give the same answers.
        """
        digest = folder_digest(folder) if folder else "none"
        options = replace(self._plan.options, adapter=name, weights=digest)
        file = self._folder / "predictions" / f"{digest[:16]}-{domain}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        found = []
        for item in evaluate(self._assistant, self._rows[domain], options, file):
            if isinstance(item, Progress):
                yield item
            else:
                found.append(item[1])
                yield Progress("prefill", f"{name} on {domain}", len(found), len(self._rows[domain]))
        return tuple(found)

    def _routed(self, alone: Mapping[str, Path], domain: str) -> Generator[Progress, None, tuple[float, int]]:
        """Accuracy with the router's choice, and the number of rows for which it is the domain's adapter."""
        chosen = []
        for row in self._rows[domain]:
            chosen.append((yield from self._choice(row)))
        by_adapter = {}
        for name in dict.fromkeys(chosen):
            by_adapter[name] = yield from self._answers(name or "none", alone[name] if name else None, domain)
        correct = [by_adapter[name][index].correct for index, name in enumerate(chosen)]
        return mean(correct), sum(name == domain for name in chosen)

    def _choice(self, row: EvaluationRow) -> Generator[Progress, None, str | None]:
        for event in self._assistant.route(Turn(row.question, (row.file,))):
            if isinstance(event, Progress):
                yield event
            elif isinstance(event, Failed):
                raise UserError(f"{row.set}, {row.image}: {event.message}")
            elif isinstance(event, Routed):
                return event.route.adapter
        raise RuntimeError("the turn was not routed")

    def _repeat(self, order: tuple[str, ...]) -> Generator[Progress | Repetition, None, None]:
        """Answer all rows with adapter "auto" and compare the answers with those that way (c) counted."""
        alone = {domain: self._alone(domain) for domain in order}
        self._install(alone)
        options = replace(self._plan.options, adapter="auto")
        rows = same = 0
        for domain in order:
            for item in evaluate(self._assistant, self._rows[domain], options, None):
                if isinstance(item, Progress):
                    yield item
                    continue
                row, prediction = item
                name = prediction.adapter
                counted = yield from self._answers(name or "none", alone[name] if name else None, domain)
                rows += 1
                same += prediction.answer == counted[self._rows[domain].index(row)].answer
                yield Progress("prefill", "Asking everything once more", rows, rows)
        yield Repetition(rows, same)


def spread_rows(file: Path, count: int) -> tuple[EvaluationRow, ...]:
    """`count` evenly spread validation rows of a file. Raises UserError when it has fewer."""
    rows = read_rows([file], None, "val", None)
    if len(rows) < count:
        raise UserError(
            f"{file} has {len(rows)} rows of the split 'val'; {count} are wanted, so ask for fewer."
        )
    return tuple(rows[int(number * len(rows) / count)] for number in range(count))


def folder_digest(folder: Path) -> str:
    """sha256 (hex) over the names and contents of the files directly in a folder."""
    lines = [f"{file.name} {file_digest(file)}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _claim(folder: Path, plan: ContinualPlan) -> None:
    """Write the plan into the folder. Raises UserError when it has another one."""
    wanted = {
        "files": {domain: file_digest(file) for domain, file in plan.files.items()},
        "rows": plan.rows,
        "budget": plan.budget,
        "options": asdict(plan.options),
    }
    path = folder / _STATE
    if path.exists():
        if read_json(path) != wanted:
            raise UserError(
                f"{folder} holds a run over other data or with other settings; choose another --state folder."
            )
        return
    with written_to(folder, "choose another --state folder"):
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
