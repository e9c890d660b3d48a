"""`edge-app adapters train`: trains an adapter from labelled images."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edge_app.cli import output
from edge_app.cli.options import OfflineOption, load_settings
from edge_app.images.image_detail import ImageDetail
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from adapters.store.manifest import Accuracy
    from adapters.training.data import TrainingRow
    from adapters.training.learning import Step
    from adapters.training.train import TrainingReport

Ocr = Literal["never", "auto", "always"]
OwnHead = Literal["auto", "yes", "no"]


def train(
    data: Annotated[Path, typer.Argument(metavar="DATA.jsonl", help="Rows: image, question, answer.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="The name of the adapter.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="The model that the adapter is for [default: the chosen one]."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of relative image paths [default: that of the file]."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write [default: ./NAME].")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Install the adapter afterwards.")] = False,
    description: Annotated[
        str, typer.Option(metavar="TEXT", help="What the adapter is for, in one line.")
    ] = "",
    version: Annotated[str, typer.Option(metavar="VERSION", help="The version of the adapter.")] = "1.0.0",
    source: Annotated[str, typer.Option(metavar="TEXT", help="The source of the images.")] = "",
    licence: Annotated[str, typer.Option(metavar="TEXT", help="The licence of the adapter.")] = "not stated",
    notes: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Markdown for the adapter's card.")
    ] = None,
    ocr: Annotated[Ocr, typer.Option(help="Whether text in images is read.")] = "never",
    chart_ranks: Annotated[
        bool, typer.Option("--chart-ranks", help="With --ocr: rank the labels of a chart in the prompt.")
    ] = False,
    own_head: Annotated[
        OwnHead, typer.Option(help="Whether the adapter gets image heads of its own.")
    ] = "auto",
    detail: Annotated[
        ImageDetail, typer.Option(help="How closely to look at images, for models that cut them.")
    ] = "auto",
    rank: Annotated[int, typer.Option(min=1, max=128, help="The rank of the LoRA.")] = 16,
    alpha: Annotated[
        int | None, typer.Option(min=1, help="The alpha of the LoRA [default: twice the rank].")
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, max=0.1, help="The highest learning rate.")
    ] = 1e-3,
    steps: Annotated[int, typer.Option(min=0, help="The most steps; 0: three epochs, at least 160.")] = 0,
    minutes: Annotated[
        float,
        typer.Option(
            min=0, help="Learn for this long at most; the rate falls by the clock. 0: no limit, by steps."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same adapter.")] = 0,
    start_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of an adapter to train further.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    measure: Annotated[bool, typer.Option(help="Measure the adapter on the validation images.")] = True,
    measure_too: Annotated[
        list[Path] | None,
        typer.Option("--measure-too", metavar="FILE", help="Measure it on the split val of this file too."),
    ] = None,
    offline: OfflineOption = None,
) -> None:
    """Train an adapter from labelled images on this machine.

    Each row of DATA.jsonl is an object with image, question and answer; type (the kind of question) and split
    ("train" or "val") are optional. Twenty images are enough for a first try. Needs pip install -e '.[train]'.

    \b
    Example:
      edge-app adapters train birds.jsonl --name birds --description "Names garden birds." --install
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        from models.core.errors import UserError

        raise UserError("Training needs PyTorch and transformers: run pip install -e '.[train]'.")
    from adapters.training.build_adapter import About, make_adapter
    from adapters.training.data import VALIDATION, of_split, read_training_rows, read_validation_rows
    from adapters.training.options import Options, Workplace
    from edge_app.system import paths
    from models.compiler import threads
    from models.hub.store import ModelStore

    settings = load_settings(offline=offline, model=model)
    rows = read_training_rows(data, images)
    for file in measure_too or ():
        rows += read_validation_rows(file, images)
    store = ModelStore(paths.models_directory())
    files = store.pull(settings.model, offline=settings.offline)
    if files.family == "idefics3":
        rows = _with_detail(rows, detail)
    about = About(
        name=name,
        version=version,
        description=description or f"Answers questions like those in {data.name}.",
        base_digest=store.base_digests(settings.model).current,
        data=source or data.name,
        licence=licence,
        command=_command(),
        measure_command=f"edge-app eval {_names((data, *(measure_too or ())))} --split {VALIDATION} --adapter {name}",
        notes=notes.read_text(encoding="utf-8") if notes else "",
    )
    options = Options(
        rank=rank,
        alpha=alpha or 2 * rank,
        learning_rate=learning_rate,
        seed=seed,
        steps=steps,
        minutes=minutes,
        ocr=ocr,
        chart_ranks=chart_ranks,
        own_head=own_head,
        start_from=start_from,
    )
    checkpoint = paths.cache_directory() / "training" / f"{name}.pt"
    router = store.find(store.catalog.default) if settings.model != store.catalog.default else None
    workplace = Workplace(files, paths.cache_directory(), checkpoint, threads.default_threads(), router)
    folder = out or Path(name)
    display = TrainingDisplay()
    report, manifest = make_adapter(
        rows,
        about,
        options,
        folder,
        workplace,
        display,
        resume=resume,
        measured=measure and bool(of_split(rows, VALIDATION)),
    )
    display.clear()
    output.result(_summary(report, manifest.accuracy))
    if install:
        _install(folder, offline)
    else:
        output.result(f"Install it with: edge-app adapters install {shlex.quote(str(folder))}")


def _with_detail(rows: Sequence[TrainingRow], wanted: ImageDetail) -> tuple[TrainingRow, ...]:
    """The rows, each with the detail at which the assistant would look at its image for its question."""
    from adapters.training.images.features import load_training_image
    from edge_app.images.image_detail import detail_of
    from models.ocr.reader import may_be_page

    pages: dict[str, bool] = {}

    def is_page(row: TrainingRow) -> bool:
        if row.digest not in pages:
            pages[row.digest] = may_be_page(load_training_image(row))
        return pages[row.digest]

    return tuple(
        replace(row, detail=detail_of(wanted, [row.question], partial(is_page, row))) for row in rows
    )


class TrainingDisplay:
    """Shows progress on stderr: on a terminal one line that changes, elsewhere a line for each evaluation."""

    def __init__(self) -> None:
        self._terminal = output.live_stderr()

    def __call__(self, news: str | Step) -> None:
        if isinstance(news, str):
            self.clear()
            output.say(news)
        elif self._terminal and not news.evaluated:
            sys.stderr.write(output.CLEAR_LINE + _line(news))
            sys.stderr.flush()
        elif news.evaluated or news.done % 25 == 0:
            self.clear()
            output.say(_line(news))

    def clear(self) -> None:
        if self._terminal:
            sys.stderr.write(output.CLEAR_LINE)
            sys.stderr.flush()


def _line(step: Step) -> str:
    line = f"step {step.done} of {step.total}, loss {step.loss:.3f}, {step.seconds_left / 60:.1f} min left"
    if step.score is None:
        return line
    judged = f", judged: loss {step.score.loss:.3f}, right {step.score.accuracy:.1%}"
    if not step.evaluated:
        return line + judged
    return line + judged + f" ({', '.join(f'{k} {v:.1%}' for k, v in step.score.by_type.items())})"


def _summary(report: TrainingReport, accuracy: Sequence[Accuracy]) -> str:
    lines = [
        f"{report.folder}: {report.images} images, {report.learnt.steps} steps in {report.minutes:.1f} minutes; "
        f"right on {report.learnt.best.accuracy:.1%} of the judged questions at step {report.learnt.step}."
    ]
    if accuracy:
        rows = [
            (row.set, row.type, str(row.rows), *(f"{share:.1%}" for share in _shares(row)))
            for row in accuracy
        ]
        heading = ("SET", "TYPE", "ROWS", "ADAPTER", "WITHOUT", "BLIND", "MAJORITY")
        lines.append(text_table([heading, *rows], right=(2, 3, 4, 5, 6)))
    return "\n".join(lines)


def _shares(row: Accuracy) -> tuple[float, ...]:
    return row.adapter, row.base, row.blind, row.majority


def _command() -> str:
    """The command line for the adapter's card, without folders and options that depend on this machine."""
    words = [
        "edge-app",
        *(word for word in sys.argv[1:] if word not in ("--resume", "--offline", "--install")),
    ]
    if "--out" in words:
        at = words.index("--out")
        del words[at : at + 2]
    return shlex.join(Path(word).name if "/" in word and Path(word).exists() else word for word in words)


def _names(files: Sequence[Path]) -> str:
    return shlex.join(file.name for file in files)


def _install(folder: Path, offline: bool | None) -> None:
    """Installs the trained adapter without a question and replaces an older one of its name."""
    from edge_app.cli.adapters import commands as adapters

    adapters.install([str(folder)], yes=True, force=True, offline=offline)
