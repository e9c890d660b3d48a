"""`edge-app eval confidence`: fits the probability that an answer is right, and measures how good it is."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli import output
from edge_app.cli.eval.answered import answered_by_set, as_first_asked, left_out_text
from edge_app.cli.eval.confidence_tables import ablation_table, kept_table, quality_table, stopping_table
from edge_app.cli.options import (
    AdapterOption,
    AnswersOption,
    DomainFiles,
    FoldsOption,
    HeldOutOption,
    ImagesOption,
    JsonOption,
    LimitOption,
    ModelOption,
    OfflineOption,
    QuestionsOption,
    ScopesOption,
)


def confidence(
    files: DomainFiles,
    images: ImagesOption = None,
    split: HeldOutOption = "val",
    limit: LimitOption = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    folds: FoldsOption = 5,
    predictions: AnswersOption = None,
    questions: QuestionsOption = None,
    scopes: ScopesOption = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Also measure each group of features alone and left out.")
    ] = False,
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

    Questions of a kind are asked about images of the file of that name. Each has an author, and its answer is
    judged by a rule fitted without that author's questions. Out of scope and in chat no answer is right.

    \b
    Examples:
      edge-app eval confidence birds.jsonl --predictions answers --picture reliability.svg
      edge-app eval confidence birds.jsonl --questions asked.jsonl --ablation --dry-run
    """
    from edge_app.costs.averages import cloud_prior
    from edge_app.evaluation import plots
    from edge_app.evaluation.ablation import ablations
    from edge_app.evaluation.confidence import (
        fit_beside_bundled,
        fit_whole,
        judgeable,
        judged_held_out,
        lines,
        logged_answers,
        own_fits,
        stoppings,
        write_own,
        write_shared,
    )
    from edge_app.evaluation.kept_shares import kept_shares
    from edge_app.evaluation.questions import read_scopes, with_questions
    from edge_app.system import paths
    from router.confidence.early_stop import THRESHOLDS
    from router.place_policy import scenario, threshold

    if picture is not None:
        plots.check_picture(picture)
    asked = with_questions(files, images, None if split == "all" else split, limit, questions)
    settings, options = as_first_asked(adapter, offline, model)
    answers = answered_by_set(settings, asked.rows, options, predictions, read_scopes(scopes or []))
    results, declined = judgeable(answers)
    judged = judged_held_out(results, fit_whole if shared else fit_beside_bundled, folds)
    report, stopped = lines(judged), stoppings(judged, THRESHOLDS)
    prior = cloud_prior(settings)
    prior = replace(prior, joules=prior.joules + settings.cloud_joules)
    limit_of_auto = threshold(scenario("auto", False, settings.weights()), prior)
    kept = kept_shares(judged, declined, limit_of_auto)
    parts = ablations(results, folds) if ablation else []
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
        output.result_json(
            {
                "folds": folds,
                "weights": options.weights,
                "lines": [asdict(line) for line in report],
                "stopping": [asdict(each) for each in stopped],
                "threshold": limit_of_auto,
                "kept": [asdict(each) for each in kept],
                "ablation": [asdict(each) for each in parts],
                "left_out": asked.left_out,
            }
        )
        return
    tables = [quality_table(report), stopping_table(stopped), kept_table(kept, limit_of_auto)]
    if parts:
        tables.append(ablation_table(parts))
    if asked.left_out:
        tables.append(left_out_text(asked.left_out))
    output.result("\n\n".join(tables))
