"""`edge-app eval scenarios`: accuracy and costs of each mode when a cloud answers some of the questions."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.eval.answered import answered_by_set, as_first_asked, left_out_text
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
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.quality.scenarios.measures import MeanOutcome
    from benchmarks.quality.scenarios.study import Study
    from router.place_policy import Weights
    from router.types import Mode

CPT = (50, 80)  # percentages x of CPT(x)


def scenarios(
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
    cloud_answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Recorded answers of a cloud [default: the rows' own]."),
    ] = None,
    cloud_out_of_scope: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="How often the cloud is right out of scope and in chat [default: as often as in scope].",
            show_default=False,
        ),
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

    Questions of a kind are asked about images of the file of that name, as in `eval confidence`. Out of scope and
    in chat nothing that this device says is right. A decline there is handed over in auto and quality.

    \b
    Examples:
      edge-app eval scenarios shapes.jsonl receipts.jsonl --cloud-answers big-model.jsonl --picture curve.svg
      edge-app eval scenarios shapes.jsonl --questions asked.jsonl --cloud-out-of-scope 0.8
    """
    from benchmarks.quality.scenarios.recorded_answers import oracle, read_answers, write_answers
    from benchmarks.quality.scenarios.study import asked_of, cloud_accuracy, local_answer, queries_of, study
    from edge_app.costs.averages import cloud_prior
    from edge_app.evaluation import plots as pictures
    from edge_app.evaluation.confidence import fit_whole, judgeable, judged_held_out
    from edge_app.evaluation.questions import read_scopes, with_questions
    from router.place_policy import scenario

    if picture is not None:
        pictures.check_picture(picture)
    pairing = with_questions(files, images, None if split == "all" else split, limit, questions)
    rows, given = pairing.rows, read_scopes(scopes or [])
    settings, options = as_first_asked(adapter, offline, model)
    if write_oracle is not None:
        write_answers(write_oracle, oracle(rows))
    recorded = read_answers(cloud_answers) if cloud_answers is not None else oracle(rows)
    if cloud_out_of_scope is None:
        cloud_out_of_scope = cloud_accuracy(rows, recorded)
    results = answered_by_set(settings, rows, options, predictions, given)
    asked = asked_of(results, judged_held_out(judgeable(results)[0], fit_whole, folds))
    frugal = answered_by_set(
        settings.model_copy(update={"mode": "eco"}),
        rows,
        replace(options, mode="eco"),
        predictions / "eco" if predictions else None,
        given,
    )
    prior = cloud_prior(settings)
    prior = replace(prior, joules=prior.joules + settings.cloud_joules)
    queries, expected = queries_of(asked, recorded, prior, cloud_out_of_scope)
    weights = settings.weights()
    wanted = {mode: scenario(mode, False, weights, settings.eco()) for mode in weights}
    eco = [local_answer(row, prediction) for row, prediction in frugal]
    found = study(asked, queries, eco, expected, wanted)
    if picture is not None:
        from benchmarks.quality.plots import draw_curves

        draw_curves(found, picture)
    measured = all(each.prediction.energy["measured"] for each in asked)
    if json:
        printed = _as_json(found, weights, measured)
        printed |= {"cloud_out_of_scope": cloud_out_of_scope, "left_out": pairing.left_out}
        output.result_json(printed)
        return
    parts = [_text(found, weights, measured, cloud_out_of_scope), left_out_text(pairing.left_out)]
    output.result("\n\n".join(filter(None, parts)))


def _as_json(found: Study, weights: Mapping[Mode, Weights], measured: bool) -> dict[str, Any]:
    from benchmarks.quality.scenarios.study import LOCAL_SHARE, rcs

    return {
        "queries": found.queries,
        "out_of_scope": found.out_of_scope,
        "energy_measured": measured,
        "cloud": asdict(found.expected),
        "modes": {each.mode: {**asdict(each), "pgr": found.pgr(each.outcome)} for each in found.modes},
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


def _text(found: Study, weights: Mapping[Mode, Weights], measured: bool, out_of_scope: float) -> str:
    from benchmarks.quality.scenarios.study import LOCAL_SHARE

    energy = "measured" if measured else "estimated"
    share, lost = 100 * LOCAL_SHARE, 100 * found.loss_at_local_share
    loss = f"With {share:.0f}% of the questions kept here, {lost:.1f}% of right answers are lost"
    notes = (
        f"{found.queries} questions. APSP: right answers. CA: kept here. PGR: the gap to the cloud recovered. "
        f"AIL: mean seconds.\nEnergy here is {energy}; the cloud's is a guess.\n"
        f"The cloud is expected to be right in {100 * found.expected.correct:.0f}% and to take "
        f"{found.expected.seconds:.1f} s, {found.expected.joules:.0f} J and {found.expected.money:.4f} an answer."
    )
    if found.out_of_scope:
        notes += (
            f"\n{found.out_of_scope} questions are out of scope or chat: nothing said here is right, and the cloud is "
            f"assumed to be right in {100 * out_of_scope:.0f}%.\nOUT KEPT: the share of these that is answered here "
            "and not declined."
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
    heading = ("MODE", "THRESHOLD", "APSP", "PGR", "CA", "CLOUD", "OUT KEPT", "AIL", "ENERGY", "MONEY")
    rows = [
        (
            name,
            limit,
            _percent(each.apsp),
            _percent(found.pgr(each)),
            _percent(each.ca),
            _percent(1 - each.ca),
            _percent(each.out_kept),
            f"{each.ail:.2f} s",
            f"{each.joules:.1f} J",
            f"{each.money:.4f}",
        )
        for name, limit, each in named
    ]
    return text_table([heading, *rows], right=range(1, len(heading)))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _rcs_table(found: Study, weights: Mapping[Mode, Weights]) -> str:
    from benchmarks.quality.scenarios.study import rcs

    table = rcs(found, weights)
    modes = [each.mode for each in found.modes]
    rows = [(name, *(f"{own[mode]:+.3f}" for mode in modes)) for name, own in table.items()]
    return text_table([("", *(mode.upper() for mode in modes)), *rows], right=range(1, len(modes) + 1))


def _curves(found: Study) -> str:
    rows = [
        (
            name,
            "-" if own.apgr is None else f"{own.apgr:.3f}",
            *(_percent(own.cpt(percent)) for percent in CPT),
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
            *(_percent(share) for share in (each.local, each.cloud, each.auto, each.ca, each.out_kept)),
        )
        for each in found.domains
    ]
    heading = ("ROWS OF", "NUMBER", "LOCAL", "CLOUD", "AUTO", "CA", "OUT KEPT")
    worst = min(found.domains, key=lambda each: each.auto)
    note = f"Least right in auto: {worst.name}, {_percent(worst.auto)}."
    if found.out_of_scope:
        kept, name = max((each.out_kept or 0.0, each.name) for each in found.domains)
        note += f" Most kept out of scope: {name}, {_percent(kept)}."
    return text_table([heading, *rows], right=range(1, len(heading))) + f"\n{note}"
