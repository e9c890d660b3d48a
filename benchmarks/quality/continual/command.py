"""`edge-app eval continual`: learns domains one after another and reports what is forgotten."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption, OfflineOption, load_settings
from edge_app.system.terminal_text import text_table
from models.core.errors import UserError

if TYPE_CHECKING:
    from adapters.training.data import TrainingRow
    from benchmarks.quality.continual.measures import AccuracyMatrix, Stage
    from benchmarks.quality.continual.run import ContinualRun, Repetition, Trainer
    from edge_app.settings import Settings

READ = ("receipts", "charts")
"""The domains whose images have text to read, unless --read names others."""

OwnHead = Literal["auto", "yes", "no"]


def continual(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.jsonl...", help="A domain each, with splits train and val.")
    ],
    order: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,…", help="An order of all domains; repeatable [default: as given, and back]."
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Training steps a domain, the same for all.")
    ] = 160,
    images: Annotated[
        int, typer.Option(metavar="N", min=8, help="Training images a domain at most, evenly spread.")
    ] = 240,
    rows: Annotated[
        int, typer.Option(metavar="N", min=1, help="Validation rows a domain, evenly spread.")
    ] = 60,
    read: Annotated[
        list[str] | None, typer.Option(metavar="DOMAIN", help="Read the text in its images; repeatable.")
    ] = None,
    own_head: Annotated[OwnHead, typer.Option(help="Whether adapters bring heads of their own.")] = "auto",
    seed: Annotated[int, typer.Option(help="The seed of the training.")] = 0,
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="Keep everything here; a stopped run continues.")
    ] = Path("continual"),
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the heat maps of accuracy there.")
    ] = None,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Learn the domains one after another; after each, measure accuracy on all so far, three ways.

    (a) one LoRA that is trained on; (b) an adapter a domain, the right one given; (c) the same adapters with
    the router's choice. Last: mean accuracy at the end. MAA: mean accuracy along the way. BWT: backward
    transfer, what the earlier domains lost by the end. Needs pip install -e '.[train]'.

    \b
    Example:
      edge-app eval continual remote_sensing.jsonl medical.jsonl shapes.jsonl --picture continual.svg
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise UserError("Continual learning trains: run pip install -e '.[train]'.")
    from benchmarks.quality.continual.measures import accuracy_matrices
    from benchmarks.quality.continual.run import ContinualPlan, ContinualRun
    from edge_app.assistant import Assistant
    from edge_app.evaluation.plots import check_picture
    from edge_app.evaluation.rows import EvaluationOptions

    if picture is not None:
        check_picture(picture)
    domains = _domains(files)
    settings = load_settings(
        adapter="auto", mode="auto", offline=offline, max_tokens=160, temperature=0.0, repetition_penalty=1.0
    )
    budget = Budget(images, steps, own_head, seed, _read(read, domains))
    plan = ContinualPlan(
        files=domains,
        orders=_orders(order, tuple(domains)),
        rows=rows,
        budget=str(budget),
        options=EvaluationOptions(
            *(settings.model, "auto", "auto", False, False, settings.max_tokens, settings.system),
            detail=settings.image_detail,
        ),
    )
    train = _trainer(settings, budget, state)
    with closing(Assistant(settings, None, adapters=state / "installed")) as assistant:
        stages, repetition = _follow(ContinualRun(plan, state, assistant, state / "installed", train))
    measured = accuracy_matrices(stages)
    if picture is not None:
        from benchmarks.quality.plots import draw_matrices

        draw_matrices(measured, picture)
    report = _report(plan.budget, rows, stages, measured, repetition)
    (state / "report.json").write_text(json_module.dumps(report, indent=1) + "\n", encoding="utf-8")
    if json:
        output.result_json(report)
    else:
        output.result(_text(stages, measured, repetition))


def _follow(run: ContinualRun) -> tuple[list[Stage], Repetition]:
    """Do the whole run, with progress on stderr. Returns its stages and the repetition of the last one."""
    from benchmarks.quality.continual.run import Repetition
    from edge_app.events import Progress

    line = output.ProgressLine()
    stages: list[Stage] = []
    for item in run.stages():
        if isinstance(item, Progress):
            line.show(item)
            continue
        line.clear()
        if isinstance(item, Repetition):
            return stages, item
        stages.append(item)
        output.say(_stage_line(item))
    raise RuntimeError("the run ended without a Repetition")


def _domains(files: Sequence[Path]) -> dict[str, Path]:
    """Files by domain. A domain is the stem of its file, which becomes its adapter's name."""
    from adapters.store.manifest import check_name

    domains = {check_name(file.stem): file for file in files}
    if len(domains) < len(files):
        raise UserError("Two of the files have the same name; each domain is called after its file.")
    return domains


def _orders(given: Sequence[str] | None, domains: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    orders = [tuple(name.strip() for name in text.split(",")) for text in given or ()]
    for each in orders:
        if sorted(each) != sorted(domains):
            raise UserError(f"The order {','.join(each)} does not name each of {', '.join(domains)} once.")
    return tuple(dict.fromkeys(orders or [domains, domains[::-1]]))


def _read(given: Sequence[str] | None, domains: Sequence[str] | dict[str, Path]) -> tuple[str, ...]:
    """The domains whose images are read, in the order of READ or --read."""
    wanted = READ if given is None else tuple(given)
    unknown = [name for name in wanted if name not in domains]
    if given is not None and unknown:
        raise UserError(f"--read {unknown[0]} is none of the domains {', '.join(domains)}.")
    return tuple(name for name in wanted if name in domains)


@dataclass(frozen=True)
class Budget:
    """The limits of each training, the same for all ways. read: the domains whose images are read by OCR."""

    images: int
    steps: int
    own_head: OwnHead
    seed: int
    read: tuple[str, ...]

    def __str__(self) -> str:
        read = ", ".join(self.read) or "none"
        return (
            f"{self.images} images and {self.steps} steps a domain, own heads {self.own_head}, "
            f"seed {self.seed}, text read in: {read}"
        )


def _trainer(settings: Settings, budget: Budget, state: Path) -> Trainer:
    """The Trainer of ContinualRun: adapters.training within the budget."""

    def train(file: Path, name: str, out: Path, start_from: Path | None) -> None:
        from adapters.training.build_adapter import About, make_adapter
        from adapters.training.data import read_training_rows
        from adapters.training.options import Options, Workplace
        from edge_app.cli.adapters.train import TrainingDisplay
        from edge_app.system import paths
        from models.compiler import threads
        from models.hub.store import ModelStore

        output.say(f"Learning {file.stem}" + (f" after {start_from.name}" if start_from else ""))
        store = ModelStore(paths.models_directory())
        model = store.pull(settings.model, offline=settings.offline)
        about = About(
            name=name,
            version="1.0.0",
            description=f"Answers questions like those in {file.name}.",
            base_digest=store.base_digests(settings.model).current,
            data=file.name,
            licence="not stated",
            command="edge-app eval continual",
            measure_command="edge-app eval continual",
        )
        checkpoint = state / "training.pt"
        place = Workplace(model, paths.cache_directory(), checkpoint, threads.default_threads())
        options = Options(
            seed=budget.seed,
            steps=budget.steps,
            ocr="always" if file.stem in budget.read else "never",
            chart_ranks=file.stem in budget.read,
            own_head=budget.own_head,
            start_from=start_from,
        )
        shown = TrainingDisplay()
        make_adapter(
            _fewer(read_training_rows(file), budget.images),
            about,
            options,
            out,
            place,
            shown,
            resume=True,
            measured=False,
        )
        shown.clear()

    return train


def _fewer(rows: Sequence[TrainingRow], most: int) -> list[TrainingRow]:
    """The training rows of at most `most` images, evenly spread, and the rows of the other splits."""
    from adapters.training.data import TRAIN, by_image, of_split
    from edge_app.evaluation.rows import evenly_spread

    groups = list(by_image(of_split(rows, TRAIN)).values())
    kept = [row for group in evenly_spread(groups, most) for row in group]
    return [*kept, *(row for row in rows if row.split != TRAIN)]


def _stage_line(stage: Stage) -> str:
    from benchmarks.quality.continual.measures import mean

    means = ", ".join(f"{way} {100 * mean(shares):.1f}%" for way, shares in stage.accuracy.items())
    return (
        f"After {stage.order[stage.number]} ({stage.number + 1} of {len(stage.order)}): {means}; "
        f"router right {stage.chosen_right} of {stage.asked}"
    )


def _report(
    budget: str,
    rows: int,
    stages: Sequence[Stage],
    measured: Sequence[AccuracyMatrix],
    repetition: Repetition,
) -> dict[str, Any]:
    from benchmarks.quality.continual.measures import files_stayed

    return {
        "budget": budget,
        "rows": rows,
        "courses": [matrix.as_json() for matrix in measured],
        "files_identical": files_stayed(stages),
        "digests": [{"after": list(s.order[: s.number + 1]), "sha256": dict(s.digests)} for s in stages],
        "router": [
            {"after": list(s.order[: s.number + 1]), "right": s.chosen_right, "asked": s.asked}
            for s in stages
        ],
        "asked_again": repetition.rows,
        "answered_the_same": repetition.same,
    }


def _text(stages: Sequence[Stage], measured: Sequence[AccuracyMatrix], repetition: Repetition) -> str:
    from benchmarks.quality.continual.measures import WAYS, files_stayed

    lines: list[str] = []
    for order in dict.fromkeys(matrix.order for matrix in measured):
        lines.append(f"Order: {', '.join(order)}")
        own = [matrix for matrix in measured if matrix.order == order]
        heading = ("WAY", *(name.upper() for name in order), "LAST", "MAA", "BWT")
        table = [
            (
                WAYS[matrix.way],
                *(f"{100 * share:.1f}" for share in matrix.accuracy[-1]),
                f"{100 * matrix.last:.1f}",
                f"{100 * matrix.maa:.1f}",
                f"{100 * matrix.bwt:+.1f}",
            )
            for matrix in own
        ]
        lines += [text_table([heading, *table], right=range(1, len(heading))), ""]
    right, asked = sum(s.chosen_right for s in stages), sum(s.asked for s in stages)
    lines.append(
        f"Router, over all stages: {right} of {asked} rows to their own adapter ({100 * right / asked:.1f}%)."
    )
    same = "are the same bytes" if files_stayed(stages) else "HAVE CHANGED"
    lines.append(f"The isolated adapters' files {same} at every stage.")
    lines.append(
        f"Asked again at the end, the adapter left to the app: {repetition.same} of {repetition.rows} answers the same."
    )
    return "\n".join(lines)
