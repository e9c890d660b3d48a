"""Answers rows with the assistant and shows the progress. Shared by the evaluations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.cli import output
from edge_app.cli.options import load_settings
from edge_app.system import paths

if TYPE_CHECKING:
    from edge_app.evaluation.rows import EvaluationOptions, EvaluationRow, Prediction
    from edge_app.settings import Settings


def as_first_asked(
    adapter: str | None, offline: bool | None, model: str | None = None
) -> tuple[Settings, EvaluationOptions]:
    """Settings to measure local answers: mode auto, greedy sampling, no cloud; and the options of the predictions.

    adapter, offline, model: None takes the setting of the user.
    """
    from edge_app.evaluation.rows import EvaluationOptions, weights_identity

    settings = load_settings(
        model=model, adapter=adapter, mode="auto", offline=offline, temperature=0.0, repetition_penalty=1.0
    )
    options = EvaluationOptions(
        settings.model,
        settings.adapter,
        settings.mode,
        False,
        False,
        settings.max_tokens,
        settings.system,
        weights_identity(settings.model, settings.adapter),
        detail=settings.image_detail,
    )
    return settings, options


def answered(
    settings: Settings, rows: Sequence[EvaluationRow], options: EvaluationOptions, predictions: Path | None
) -> list[tuple[EvaluationRow, Prediction]]:
    """Each row with its prediction. predictions: one file for all rows; None writes nothing."""
    return _answered(settings, [(rows, predictions)], options)


def answered_by_set(
    settings: Settings,
    rows: Sequence[EvaluationRow],
    options: EvaluationOptions,
    folder: Path | None,
    scopes: Mapping[tuple[str, str], float] | None = None,
) -> list[tuple[EvaluationRow, Prediction]]:
    """Each row with its prediction.

    folder: gets a predictions file for each set; None writes nothing. scopes: log-odds of scope by (kind, question),
    which routing and confidence use in the place of the app's own (edge_app.evaluation.left_out_scope).
    """
    if scopes:  # predictions that were made with others are refused
        digest = hashlib.sha256(repr(sorted(scopes.items())).encode()).hexdigest()[:16]
        options = replace(options, weights=f"{options.weights}+scopes {digest}")
    if folder is None:
        return _answered(settings, [(rows, None)], options, scopes)
    paths.ensure(folder)
    parts = [
        ([row for row in rows if row.set == name], folder / f"{name}.jsonl")
        for name in dict.fromkeys(row.set for row in rows)
    ]
    return _answered(settings, parts, options, scopes)


def left_out_text(left_out: Mapping[str, int]) -> str:
    """The questions that were not asked, by reason (edge_app.evaluation.questions.Pairing)."""
    return "\n".join(f"Left out: {count} questions, {why}." for why, count in left_out.items())


def _answered(
    settings: Settings,
    parts: Sequence[tuple[Sequence[EvaluationRow], Path | None]],
    options: EvaluationOptions,
    scopes: Mapping[tuple[str, str], float] | None = None,
) -> list[tuple[EvaluationRow, Prediction]]:
    from adapters.store.adapter_store import AdapterStore
    from edge_app.assistant import Assistant
    from edge_app.evaluation.left_out_scope import LeftOutScope
    from edge_app.evaluation.rows import evaluate
    from edge_app.events import Progress
    from router.scope import TaskScope

    line, total = output.ProgressLine(), sum(len(rows) for rows, _ in parts)
    scope, folder = None, paths.adapters_directory()
    if scopes:
        own = TaskScope(folder, paths.cache_directory())
        scope = LeftOutScope(own, scopes, AdapterStore(folder).names())
    results = []
    with closing(Assistant(settings, None, scope=scope)) as assistant:
        for rows, file in parts:
            for item in evaluate(assistant, rows, options, file):
                if isinstance(item, Progress):
                    line.show(item)
                    continue
                results.append(item)
                line.show(Progress("prefill", "Answered", len(results), total))
    line.clear()
    return results
