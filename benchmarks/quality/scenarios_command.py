"""`edge-app eval scenarios`: accuracy and costs of each mode when a cloud answers some of the questions."""

from __future__ import annotations

from dataclasses import asdict, replace
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
    from collections.abc import Mapping

    from benchmarks.quality.scenario_measures import MeanOutcome
    from benchmarks.quality.scenario_study import Study
    from router.place_policy import Weights
    from router.types import Mode

CPT = (50, 80)  # percentages x of CPT(x)


def scenarios(
    files: DomainFiles,
    images: ImagesOption = None,
    split: HeldOutOption = "val",
    limit: LimitOption = None,
    adapter: AdapterOption = None,
    folds: FoldsOption = 5,
    predictions: AnswersOption = None,
    cloud_answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Recorded answers of a cloud [default: the rows' own]."),
    ] = None,
    write_oracle: Annotated[
        Path | None, typer.Option(metavar="OUT.jsonl", help="Write the rows' own answers there.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw accuracy against cloud share there.")
    ] = None,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Answer rows on this device, take the cloud's answers from a file, and see what each mode makes of them.

    Nothing is sent anywhere. Rows are answered twice: as in auto, and with eco's budgets. Confidence is
    cross-fitted by image, as in `eval confidence`. APSP: right answers; CA: questions that stay here; AIL: mean
    seconds; RCS: mean utility under the scenario's weights; APGR, CPT(x): how much of the gap between device and
    cloud is recovered, and the cloud share that recovers x% of it.

    \b
    Example:
      edge-app eval scenarios shapes.jsonl receipts.jsonl --cloud-answers big-model.jsonl --picture curve.svg
    """
    from benchmarks.quality.recorded_answers import oracle, read_answers, write_answers
    from benchmarks.quality.scenario_study import asked_of, local_answer, queries_of, study
    from edge_app.costs.averages import cloud_prior
    from edge_app.evaluation import plots as pictures
    from edge_app.evaluation.confidence import fit_whole, judgeable, judged_held_out
    from edge_app.evaluation.rows import read_rows
    from router.place_policy import scenario

    if picture is not None:
        pictures.check_picture(picture)
    rows = read_rows(files, images, None if split == "all" else split, limit)
    settings, options = as_first_asked(adapter, offline)
    if write_oracle is not None:
        write_answers(write_oracle, oracle(rows))
    recorded = read_answers(cloud_answers) if cloud_answers is not None else oracle(rows)
    results = answered_by_set(settings, rows, options, predictions)
    asked = asked_of(results, judged_held_out(judgeable(results)[0], fit_whole, folds))
    frugal = answered_by_set(
        settings.model_copy(update={"mode": "eco"}),
        rows,
        replace(options, mode="eco"),
        predictions / "eco" if predictions else None,
    )
    prior = cloud_prior(settings)
    prior = replace(prior, joules=prior.joules + settings.cloud_joules)
    queries, expected = queries_of(asked, recorded, prior)
    weights = settings.weights()
    wanted = {mode: scenario(mode, False, weights, settings.eco()) for mode in weights}
    eco = [local_answer(prediction) for _, prediction in frugal]
    found = study(asked, queries, eco, expected, wanted)
    if picture is not None:
        from benchmarks.quality.plots import draw_curves

        draw_curves(found, picture)
    measured = all(each.prediction.energy["measured"] for each in asked)
    if json:
        output.result_json(_as_json(found, weights, measured))
    else:
        output.result(_text(found, weights, measured))


def _as_json(found: Study, weights: Mapping[Mode, Weights], measured: bool) -> dict[str, Any]:
    from benchmarks.quality.scenario_study import LOCAL_SHARE, rcs

    return {
        "queries": found.queries,
        "energy_measured": measured,
        "cloud": asdict(found.expected),
        "modes": {each.mode: asdict(each) for each in found.modes},
        "others": {name: asdict(each) for name, each in found.others.items()},
        "perfect": {mode: asdict(each) for mode, each in found.perfect.items()},
        "rcs": rcs(found, weights),
        "curves": {
            name: {"apgr": own.apgr, **{f"cpt_{percent}": own.cpt(percent) for percent in CPT}}
            for name, own in found.curves.items()
        },
        "local_share": LOCAL_SHARE,
        "loss_at_local_share": found.loss_at_local_share,
        "domains": [asdict(each) for each in found.domains],
    }


def _text(found: Study, weights: Mapping[Mode, Weights], measured: bool) -> str:
    from benchmarks.quality.scenario_study import LOCAL_SHARE

    energy = "measured" if measured else "estimated"
    share, lost = 100 * LOCAL_SHARE, 100 * found.loss_at_local_share
    loss = f"With {share:.0f}% of the questions kept here, {lost:.1f}% of right answers are lost"
    notes = (
        f"{found.queries} questions. APSP: right answers. CA: kept here. AIL: mean seconds. "
        f"Energy here is {energy}; the cloud's is a guess.\n"
        f"The cloud is expected to be right in {100 * found.expected.correct:.0f}% and to take "
        f"{found.expected.seconds:.1f} s, {found.expected.joules:.0f} J and {found.expected.money:.4f} an answer."
    )
    parts = [
        _outcomes(found),
        notes,
        "RCS, the mean utility, in each scenario:\n" + _rcs_table(found, weights),
        _curves(found) + f"\n{loss}, against all in the cloud.",
        _domains(found),
    ]
    return "\n\n".join(parts)


def _outcomes(found: Study) -> str:
    named: list[tuple[str, str, MeanOutcome]] = [
        (each.mode, "" if each.threshold is None else f"{each.threshold:.2f}", each.outcome)
        for each in found.modes
    ]
    named += [(name, "", each) for name, each in found.others.items()]
    named.append(("perfect router, as auto", "", found.perfect["auto"]))
    heading = ("MODE", "THRESHOLD", "APSP", "CA", "AIL", "ENERGY", "MONEY")
    rows = [
        (
            name,
            limit,
            f"{100 * each.apsp:.1f}%",
            f"{100 * each.ca:.1f}%",
            f"{each.ail:.2f} s",
            f"{each.joules:.1f} J",
            f"{each.money:.4f}",
        )
        for name, limit, each in named
    ]
    return text_table([heading, *rows], right=range(1, 7))


def _rcs_table(found: Study, weights: Mapping[Mode, Weights]) -> str:
    from benchmarks.quality.scenario_study import rcs

    table = rcs(found, weights)
    modes = [each.mode for each in found.modes]
    rows = [(name, *(f"{own[mode]:+.3f}" for mode in modes)) for name, own in table.items()]
    return text_table([("", *(mode.upper() for mode in modes)), *rows], right=range(1, len(modes) + 1))


def _curves(found: Study) -> str:
    rows = [
        (
            name,
            "-" if own.apgr is None else f"{own.apgr:.3f}",
            *(("-" if (share := own.cpt(percent)) is None else f"{100 * share:.1f}%") for percent in CPT),
        )
        for name, own in found.curves.items()
    ]
    heading = ("TO THE CLOUD BY", "APGR", *(f"CPT({percent})" for percent in CPT))
    return text_table([heading, *rows], right=(1, 2, 3))


def _domains(found: Study) -> str:
    rows = [
        (
            each.name,
            str(each.queries),
            *(f"{100 * share:.1f}%" for share in (each.local, each.cloud, each.auto, each.ca)),
        )
        for each in found.domains
    ]
    return text_table([("SET", "ROWS", "LOCAL", "CLOUD", "AUTO", "CA"), *rows], right=range(1, 6))
