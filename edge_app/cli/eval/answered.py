"""Rows answered by the real assistant, greedily, with a line of progress: what several evaluations begin with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.cli import output
from edge_app.cli.options import load_settings
from edge_app.system import paths

if TYPE_CHECKING:
    from edge_app.evaluation.rows import Options, Prediction, Row
    from edge_app.settings import Settings


def as_first_asked(adapter: str | None, offline: bool | None) -> tuple[Settings, Options]:
    """How local answers are studied: in mode auto, greedy, nothing sent; and that as it is kept with them."""
    from edge_app.evaluation.rows import Options, weights_identity

    settings = load_settings(
        adapter=adapter, mode="auto", offline=offline, temperature=0.0, repetition_penalty=1.0
    )
    options = Options(
        settings.model,
        settings.adapter,
        settings.mode,
        False,
        False,
        settings.max_tokens,
        settings.system,
        weights_identity(settings.model, settings.adapter),
    )
    return settings, options


def answered(
    settings: Settings, rows: Sequence[Row], options: Options, predictions: Path | None
) -> list[tuple[Row, Prediction]]:
    """predictions: one file for all rows."""
    return _answered(settings, [(rows, predictions)], options)


def answered_by_set(
    settings: Settings, rows: Sequence[Row], options: Options, folder: Path | None
) -> list[tuple[Row, Prediction]]:
    """folder: made when it is missing; it gets a predictions file for each set."""
    if folder is None:
        return _answered(settings, [(rows, None)], options)
    paths.ensure(folder)
    parts = [
        ([row for row in rows if row.set == name], folder / f"{name}.jsonl")
        for name in dict.fromkeys(row.set for row in rows)
    ]
    return _answered(settings, parts, options)


def _answered(
    settings: Settings, parts: Sequence[tuple[Sequence[Row], Path | None]], options: Options
) -> list[tuple[Row, Prediction]]:
    from edge_app.assistant import Assistant
    from edge_app.evaluation.rows import evaluate
    from edge_app.events import Progress

    line, total = output.ProgressLine(), sum(len(rows) for rows, _ in parts)
    results = []
    with closing(Assistant(settings, None)) as assistant:
        for rows, file in parts:
            for item in evaluate(assistant, rows, options, file):
                if isinstance(item, Progress):
                    line.show(item)
                    continue
                results.append(item)
                line.show(Progress("prefill", "Answered", len(results), total))
    line.clear()
    return results
