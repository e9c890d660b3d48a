"""Learning domain after domain: what is trained, asked and installed at each stage, and going on after a stop.

The trainer is a stand-in that says what it trained; assistant, bank and evaluation are real, on a scripted
engine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.continual.measures import AccuracyMatrix, Stage, accuracy_matrices, files_stayed
from benchmarks.quality.continual.run import (
    SEQUENCE,
    ContinualPlan,
    ContinualRun,
    Repetition,
    folder_digest,
    spread_rows,
)
from benchmarks.speed import workload
from edge_app import settings
from edge_app.assistant import Assistant
from edge_app.evaluation.rows import EvaluationOptions
from edge_app.events import Progress
from edge_app.system import paths
from models.core.errors import UserError
from router.choice import Choice, Query
from router.types import Reason
from tests.adapters.folders import SHAPE
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine, FakeGeneration

DOMAINS = ("birds", "cells", "maps")
ROWS = 4
DOMAIN_FILE = "README.md"


@dataclass
class FakeTrainer:
    """Writes an adapter with the name of the domain that it was last trained on."""

    trained: list[tuple[str, str, str | None]] = field(default_factory=list)
    fails_at: int | None = None

    def __call__(self, file: Path, name: str, out: Path, start_from: Path | None) -> None:
        if len(self.trained) == self.fails_at:
            raise KeyboardInterrupt
        self.trained.append((file.stem, name, start_from.name if start_from else None))
        assert start_from is None or start_from.is_dir()
        workload.write_peft(workload.adapter(SHAPE, name, len(self.trained), 4), out)
        (out / DOMAIN_FILE).write_text(file.stem)


@dataclass
class DomainEngine(FakeEngine):
    """Answers right when the adapter was last trained on the domain of the question."""

    installed: Path = Path()

    def generate(self, messages: Any, *arguments: Any, adapter: Any = None, **others: Any) -> FakeGeneration:
        question = messages[-1].text
        knows = (self.installed / adapter.name / DOMAIN_FILE).read_text() if adapter else "nothing"
        self.words = (question.removesuffix("?") if question.startswith(knows) else "no idea",)
        return super().generate(messages, *arguments, adapter=adapter, **others)


@dataclass
class QuestionRouter:
    """Chooses by the first word of the question, except that the first question of maps goes to birds."""

    seen: set[tuple[str, ...]] = field(default_factory=set)

    def choose(self, query: Query, installed: Collection[str]) -> Choice:
        self.seen.add(tuple(sorted(installed)))
        name = query.question.split()[0]
        if query.question == "maps 0?" and "birds" in installed:
            name = "birds"
        return Choice(name if name in installed else None, 0.9, Reason("text", {"text": "by the question"}))


@pytest.fixture
def plan(tmp_path: Path) -> ContinualPlan:
    files = {}
    for domain in DOMAINS:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / f"{domain}.png").write_bytes(png())
        rows = [
            {
                "image": f"{domain}.png",
                "question": f"{domain} {n}?",
                "answer": f"{domain} {n}",
                "type": "t",
                "split": split,
            }
            for split in ("train", "val")
            for n in range(ROWS)
        ]
        files[domain] = folder / f"{domain}.jsonl"
        files[domain].write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = EvaluationOptions("edge-vlm-135m", "auto", "auto", False, False, 16)
    return ContinualPlan(files, (DOMAINS, DOMAINS[::-1]), ROWS, "one step", options)


@dataclass
class ContinualSetup:
    """A run with all that it needs. It can be started again."""

    plan: ContinualPlan
    folder: Path
    trainer: FakeTrainer = field(default_factory=FakeTrainer)
    engine: DomainEngine = field(default_factory=DomainEngine)
    router: QuestionRouter = field(default_factory=QuestionRouter)

    def stages(self) -> Iterator[Stage | Repetition]:
        installed = self.folder / "installed"
        self.engine.installed = installed
        chosen = settings.load(paths.config_file())
        with closing(
            Assistant(chosen, None, self.engine.load, adapters=installed, router=self.router)
        ) as assistant:
            run = ContinualRun(self.plan, self.folder, assistant, installed, self.trainer)
            for item in run.stages():
                if not isinstance(item, Progress):
                    yield item

    def run(self) -> tuple[list[Stage], Repetition]:
        *stages, repetition = self.stages()
        assert isinstance(repetition, Repetition)
        return [stage for stage in stages if isinstance(stage, Stage)], repetition


@pytest.fixture
def setup(plan: ContinualPlan, tmp_path: Path, home: Path) -> ContinualSetup:
    del home
    return ContinualSetup(plan, tmp_path / "state")


def of(measured: tuple[AccuracyMatrix, ...], order: tuple[str, ...], way: str) -> AccuracyMatrix:
    return next(each for each in measured if (each.order, each.way) == (order, way))


def test_the_sequence_forgets_and_isolated_adapters_do_not(setup: ContinualSetup) -> None:
    stages, _ = setup.run()
    measured = accuracy_matrices(stages)
    for order in setup.plan.orders:
        assert of(measured, order, "sequence").accuracy == ((1.0,), (0.0, 1.0), (0.0, 0.0, 1.0))
        assert of(measured, order, "isolated").accuracy == ((1.0,), (1.0, 1.0), (1.0, 1.0, 1.0))
        assert of(measured, order, "sequence").bwt == -1.0
        assert of(measured, order, "isolated").bwt == 0.0
    assert files_stayed(stages)


def test_what_the_router_gets_wrong_costs_the_routed_way_alone(setup: ContinualSetup) -> None:
    stages, repetition = setup.run()
    measured = accuracy_matrices(stages)
    assert of(measured, DOMAINS, "routed").accuracy[-1] == (1.0, 1.0, 0.75)
    assert of(measured, DOMAINS[::-1], "routed").accuracy == ((1.0,), (1.0, 1.0), (0.75, 1.0, 1.0))
    assert of(measured, DOMAINS[::-1], "routed").bwt == pytest.approx(-0.125)
    assert [(stage.chosen_right, stage.asked) for stage in stages[:3]] == [(4, 4), (8, 8), (11, 12)]
    assert (repetition.rows, repetition.same) == (12, 12)


def test_each_domain_is_learnt_once_alone_and_on_from_the_stage_before(setup: ContinualSetup) -> None:
    setup.run()
    assert setup.trainer.trained == [
        ("birds", "birds", None),
        ("cells", "cells", None),
        ("cells", SEQUENCE, "birds"),
        ("maps", "maps", None),
        ("maps", SEQUENCE, "birds-cells"),
        ("cells", SEQUENCE, "maps"),
        ("birds", SEQUENCE, "maps-cells"),
    ]


def test_the_router_has_only_the_adapters_learnt_so_far(setup: ContinualSetup) -> None:
    setup.run()
    assert setup.router.seen == {("birds",), ("birds", "cells"), DOMAINS, ("maps",), ("cells", "maps")}


@pytest.mark.parametrize("fails_at", [0, 2, 5])
def test_a_stopped_run_continues_where_it_stopped(
    setup: ContinualSetup, plan: ContinualPlan, tmp_path: Path, fails_at: int
) -> None:
    whole = ContinualSetup(plan, tmp_path / "whole").run()
    setup.trainer.fails_at = fails_at
    with pytest.raises(KeyboardInterrupt):
        setup.run()
    asked = len(setup.engine.calls)
    setup.trainer.fails_at = None
    stages, repetition = setup.run()
    assert [stage.accuracy for stage in stages] == [stage.accuracy for stage in whole[0]]
    assert repetition == whole[1]
    assert len(setup.trainer.trained) == 7
    again = ContinualSetup(plan, setup.folder, setup.trainer, router=setup.router)
    again.run()
    assert len(setup.trainer.trained) == 7, "nothing is trained twice"
    assert len(again.engine.calls) == repetition.rows, "only the repetition asks again"
    assert asked < len(setup.engine.calls)


def test_an_adapter_that_another_stage_changed_is_noticed(setup: ContinualSetup) -> None:
    teach = setup.trainer.__call__

    class Vandal(FakeTrainer):
        def __call__(self, file: Path, name: str, out: Path, start_from: Path | None) -> None:
            teach(file, name, out, start_from)
            if start_from is not None and start_from.name == "birds-cells":
                (setup.folder / "isolated" / "birds" / "LICENSE").write_text("changed")

    setup.trainer = Vandal()
    stages, _ = setup.run()
    assert not files_stayed(stages)


@pytest.mark.parametrize("change", ["rows", "budget", "data"])
def test_a_folder_with_another_run_is_refused(setup: ContinualSetup, change: str) -> None:
    next(setup.stages())
    if change == "data":
        with setup.plan.files["maps"].open("a") as file:
            file.write("\n")
    elif change == "rows":
        setup.plan = replace(setup.plan, rows=ROWS - 1)
    else:
        setup.plan = replace(setup.plan, budget="two steps")
    with pytest.raises(UserError, match="holds a run over other data or with other settings"):
        setup.run()


def test_other_orders_continue_in_the_same_folder(setup: ContinualSetup) -> None:
    setup.run()
    setup.plan = replace(setup.plan, orders=(("cells", "birds", "maps"),))
    stages, _ = setup.run()
    assert [stage.order for stage in stages] == [("cells", "birds", "maps")] * 3
    assert [name for _, name, _ in setup.trainer.trained[7:]] == [SEQUENCE, SEQUENCE]


def test_rows_are_spread_evenly_over_the_validation_split(plan: ContinualPlan) -> None:
    assert [row.question for row in spread_rows(plan.files["maps"], 2)] == ["maps 0?", "maps 2?"]
    with pytest.raises(UserError, match=r"maps\.jsonl has 4 rows of the split 'val'; 5 are wanted"):
        spread_rows(plan.files["maps"], 5)


def test_a_folders_digest_covers_names_and_contents(tmp_path: Path) -> None:
    digests = set()
    for name, content in (("a", "1"), ("a", "2"), ("b", "2")):
        folder = tmp_path / f"{name}{content}"
        folder.mkdir()
        (folder / name).write_text(content)
        digests.add(folder_digest(folder))
    assert len(digests) == 3
