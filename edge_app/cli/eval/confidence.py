"""`edge-app eval confidence`: fits the probability that an answer is right, and measures how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.eval.answered import answered_by_set, as_first_asked
from edge_app.cli.options import (
    AdapterOption,
    AnswersOption,
    DomainFiles,
    FoldsOption,
    HeldOutOption,
    ImagesOption,
    JsonOption,
    LimitOption,
    OfflineOption,
)
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from edge_app.evaluation.confidence import Line
    from router.confidence.early_stop import Stopping


def confidence(
    files: DomainFiles,
    images: ImagesOption = None,
    split: HeldOutOption = "val",
    limit: LimitOption = None,
    adapter: AdapterOption = None,
    folds: FoldsOption = 5,
    predictions: AnswersOption = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw reliability there.")] = None,
    shared: Annotated[
        Path | None,
        typer.Option(metavar="OUT.json", help="Fit a whole rule and write it there, not to your data."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure; write no rule.")] = False,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Fit the probability that an answer is right, and measure it on answers it was not fitted on.

    Use rows that no adapter was trained on: adapters are too sure of their training rows, and too often right.
    The images are divided into folds, and each answer is judged by a rule fitted on the other folds. The rule
    that is written is fitted on all answers. It holds what each adapter adds to the bundled rule, and goes to
    your data directory, where the app finds it.

    \b
    Example:
      edge-app eval confidence birds.jsonl --predictions answers --picture reliability.svg
    """
    from edge_app.evaluation import plots
    from edge_app.evaluation.confidence import (
        fit_beside_bundled,
        fit_whole,
        judged_held_out,
        lines,
        logged_answers,
        own_fits,
        stoppings,
        write_own,
        write_shared,
    )
    from edge_app.evaluation.rows import read_rows
    from edge_app.system import paths
    from router.confidence.early_stop import THRESHOLDS

    if picture is not None:
        plots.check_picture(picture)
    rows = read_rows(files, images, None if split == "all" else split, limit)
    settings, options = as_first_asked(adapter, offline)
    results = answered_by_set(settings, rows, options, predictions)
    judged = judged_held_out(results, fit_whole if shared else fit_beside_bundled, folds)
    report, stopped = lines(judged), stoppings(judged, THRESHOLDS)
    if picture is not None:
        plots.draw_reliability(report, picture)
    if not dry_run:
        logged = logged_answers(results)
        if shared is not None:
            write_shared(shared, fit_whole(logged))
            output.say(f"Wrote {shared}.")
        else:
            fitted = own_fits(logged)
            write_own(paths.confidence_file(), fitted)
            output.say(f"Wrote {paths.confidence_file()}: {', '.join(sorted(fitted)) or 'no adapter'}.")
    if json:
        output.result_json(_as_json(report, stopped, folds, options.weights))
    else:
        output.result(f"{_table(report)}\n\n{_stopping_table(stopped)}")


def _as_json(
    report: Sequence[Line], stopped: Sequence[Stopping], folds: int, identity: str
) -> dict[str, Any]:
    return {
        "folds": folds,
        "weights": identity,
        "lines": [asdict(line) for line in report],
        "stopping": [asdict(each) for each in stopped],
    }


def _table(report: Sequence[Line]) -> str:
    """The AUROC of each score and the calibration error of the confidence, as text."""
    scores = list(report[0].aurocs)
    heading = ("ANSWERS", "ROWS", "WRONG", "ECE", *(f"{score.upper()}" for score in scores))
    rows = [
        (
            line.name,
            str(line.rows),
            str(line.rows - line.right),
            f"{100 * line.ece:.1f}%",
            *(_area(line.aurocs[score]) for score in scores),
        )
        for line in report
    ]
    note = (
        "ECE: calibration error of the confidence, in ten bins. Other columns: AUROC of the confidence, of the\n"
        "confidence for an adapter without data (fitted on the other files), and of scores that need no fitting.\n"
        "-: all answers are right, or all wrong."
    )
    return text_table([heading, *rows], right=range(1, len(heading))) + f"\n{note}"


def _area(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _stopping_table(stopped: Sequence[Stopping]) -> str:
    rows = [
        (
            f"{each.threshold:.1f}",
            f"{each.lost} of {each.kept}",
            f"{each.wrong_stopped} of {each.wrong}",
            f"{100 * each.saved / max(each.tokens, 1):.0f}%",
        )
        for each in stopped
    ]
    return text_table(
        [
            ("GIVEN UP EARLY BELOW", "RIGHT AND TO BE KEPT", "WRONG", "TOKENS SAVED"),
            *rows,
        ],
        right=(0, 1, 2, 3),
    )
