"""`edge-app eval`: measures the assistant on questions with known answers, and starts the other evaluations.

`edge-app eval NAME` runs an evaluation of EVALUATIONS, whose module is imported then. Any other argument is a file of
rows; "./NAME" is a file of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from edge_app.cli import output
from edge_app.cli.eval.answered import answered
from edge_app.cli.options import (
    AdapterOption,
    AllowCloudOption,
    DetailOption,
    ImagesOption,
    LimitOption,
    ModelOption,
    ModeOption,
    OfflineOption,
    load_settings,
)
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from edge_app.evaluation.rows import Score

EVALUATIONS = {
    "continual": "benchmarks.quality.continual.command:continual",
    "router": "benchmarks.quality.router.command:router",
    "confidence": "edge_app.cli.eval.confidence:confidence",
    "scenarios": "benchmarks.quality.scenarios.command:scenarios",
}
"""By name, "module:function" of a command."""


class EvaluateCommand(TyperCommand):
    """`evaluate`, unless the first argument names another evaluation."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args and args[0] in EVALUATIONS:
            command = typer.main.get_command(_app(_function(EVALUATIONS[args[0]])))
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


def _function(place: str) -> Callable[..., None]:
    module, name = place.split(":")
    function: Callable[..., None] = getattr(import_module(module), name)
    return function


def _app(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(function)
    return app


def evaluate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.jsonl...", help="Rows with known answers.")],
    images: ImagesOption = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Only rows of this split.")] = None,
    limit: LimitOption = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    mode: ModeOption = None,
    detail: DetailOption = None,
    offline: OfflineOption = None,
    allow_cloud: AllowCloudOption = False,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="The longest answer, in tokens.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="OUT.jsonl", help="Save all answers here; a later run continues."),
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Without the images, to measure guessing.")] = False,
    no_words: Annotated[
        bool, typer.Option("--no-words", help="Image tokens only, without the text made from images.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure accuracy by set and type of question, and that of always giving the most frequent answer.

    \b
    Examples:
      edge-app eval photos.jsonl --split val --predictions photos-val.jsonl
      edge-app eval receipts.jsonl medical.jsonl --split val --adapter auto
    """
    from edge_app.evaluation.rows import EvaluationOptions, read_rows, score, weights_identity

    settings = load_settings(
        model=model,
        adapter=adapter,
        mode=mode,
        image_detail=detail,
        offline=offline,
        max_tokens=max_tokens,
        temperature=0.0,
        repetition_penalty=1.0,
    )
    rows = read_rows(files, images, split, limit)
    options = EvaluationOptions(
        settings.model,
        settings.adapter,
        settings.mode,
        blind,
        no_words,
        settings.max_tokens,
        settings.system,
        weights_identity(settings.model, settings.adapter),
        f"{settings.cloud_model} at {settings.cloud_url}" if allow_cloud and settings.cloud_url else None,
        settings.image_detail,
    )
    scores = score(answered(settings, rows, options, predictions))
    if json:
        output.result_json({"options": asdict(options), "scores": [_as_json(line) for line in scores]})
    else:
        output.result(_table(scores))


def _as_json(line: Score) -> dict[str, Any]:
    shares = {"accuracy": line.correct / line.rows, "majority_accuracy": line.majority / line.rows}
    return {**asdict(line), **shares}


def _table(scores: tuple[Score, ...]) -> str:
    rows = [
        (
            line.set,
            line.type,
            str(line.rows),
            f"{100 * line.correct / line.rows:.1f}%",
            f"{100 * line.majority / line.rows:.1f}%",
            line.majority_answer if len(line.majority_answer) <= 24 else line.majority_answer[:23] + "…",
            _answered_by(line),
        )
        for line in scores
    ]
    return text_table(
        [("SET", "TYPE", "ROWS", "CORRECT", "MAJORITY", "(ALWAYS)", "ADAPTER"), *rows], right=(2, 3, 4)
    )


def _answered_by(line: Score) -> str:
    """The adapter that answered most rows, with its share of them unless it answered all."""
    name, rows = next(iter(line.adapters.items()))
    return name if rows == line.rows else f"{name} {100 * rows / line.rows:.0f}%"
