"""`edge-app eval router`: how often each router chooses the right adapter, and how long a choice takes."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.options import ImagesOption, JsonOption, OfflineOption, load_settings
from edge_app.system.terminal_text import text_table
from router.types import ROUTERS, RouterName

if TYPE_CHECKING:
    from benchmarks.quality.router.evaluation import Cost, Decision, FirstToken, Share
    from edge_app.settings import Settings

Results = Mapping[RouterName, "Sequence[Decision]"]

PICTURES_EACH = 4
"""Pictures of each kind that no adapter is for."""


def router(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE.jsonl...", help="Rows of images, a domain each; see below."),
    ],
    images: ImagesOption = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Only rows of this split.")] = "val",
    only: Annotated[
        list[str] | None,
        typer.Option("--router", metavar="NAME", help=f"Only {', '.join(ROUTERS)}; repeatable."),
    ] = None,
    model_cases: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Cases of each group for the router that asks the model."),
    ] = 20,
    turns: Annotated[
        int, typer.Option(metavar="N", min=0, help="Real turns that the time to first token is taken from.")
    ] = 12,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl", help="Questions of other writers, by kind of image (docs/routing.md)."
        ),
    ] = None,
    scopes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.json", help="Log-odds of scope without the writer of a question; repeatable."
        ),
    ] = None,
    mistakes: Annotated[
        Path | None, typer.Option(metavar="OUT.jsonl", help="Write every wrong choice there.")
    ] = None,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the routers over the installed adapters: how often they are right, and what a decision costs.

    A file belongs to the adapter whose name is that of the file or its beginning (charts_unseen.jsonl: charts). The
    images of other files are general, and no adapter is right for them. About 350 questions written by hand are
    added to the files' own, and pictures of 40 kinds that no adapter is for are drawn. Thresholds were chosen with
    half of these (development), not with the other half (judgement).

    \b
    Example:
      edge-app eval router medical.jsonl receipts.jsonl photos.jsonl
    """
    from benchmarks.quality.router.cases import OWN_WORDS, cases, no_kind_cases, written_cases
    from benchmarks.quality.router.evaluation import ImageFeatureFile, decide_all, sampled
    from benchmarks.quality.router.unknown_kinds import write_unknown
    from edge_app.engine.engine_loading import load_engine
    from edge_app.evaluation.questions import read_questions, read_scopes
    from edge_app.evaluation.rows import read_rows
    from edge_app.events import Progress
    from edge_app.system import paths
    from models.core.errors import UserError

    wanted = _wanted(only)
    settings = load_settings(offline=offline)
    installed = _installed()
    rows = read_rows(files, images, split, None)
    any_page = _for_any_page(installed)
    every = cases(rows, installed, any_page)
    if questions is not None:
        every += written_cases(read_questions(questions), rows, installed, any_page)
    if any(case.right for case in every):
        pictures = write_unknown(paths.cache_directory() / "unknown-kinds", PICTURES_EACH)
        every += no_kind_cases(pictures, installed, any_page)
    else:
        raise UserError(
            f"None of the files is named after an installed adapter ({', '.join(installed) or 'there is none'}); "
            "name a file after one, or install an adapter: edge-app adapters install NAME."
        )
    line = output.ProgressLine()

    def show(what: str, done: int, total: int) -> None:
        line.show(Progress("encode", what, done, total))

    results: dict[RouterName, Sequence[Decision]] = {}
    engine = load_engine(
        settings, lambda stage, message, done, total: line.show(Progress(stage, message, done, total))
    )
    try:
        images_seen = ImageFeatureFile(engine, paths.cache_directory())
        pictured = (case.image for case in every if case.image is not None)
        images_seen.compute(pictured, lambda done, total: show("Images looked at", done, total))
        for name in wanted:
            asked = sampled(every, model_cases) if name == "model" else every
            results[name] = decide_all(
                name,
                paths.adapters_directory(),
                installed,
                asked,
                images_seen,
                engine,
                lambda done, total, name=name: show(f"Router {name}", done, total),  # type: ignore[misc]  # a default binds it
                read_scopes(scopes or ()),
            )
    finally:
        engine.close()
    wait = None
    if turns:
        line.show(Progress("encode", "Measuring the time to first token", 0, None))
        wait = _first_tokens(settings, [case for case in every if case.group == OWN_WORDS], turns)
    line.clear()
    if mistakes is not None:
        _write_mistakes(mistakes, results)
    if json:
        output.result_json(_report(installed, results, wait))
    else:
        output.result(_text(results, wait))


def _wanted(only: Sequence[str] | None) -> tuple[RouterName, ...]:
    unknown = [name for name in only or () if name not in ROUTERS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of the routers {', '.join(ROUTERS)}.")
    return tuple(name for name in ROUTERS if not only or name in only)


def _installed() -> tuple[str, ...]:
    from adapters.store.adapter_store import AdapterStore
    from edge_app.system import paths

    return AdapterStore(paths.adapters_directory()).names()


def _for_any_page(installed: Sequence[str]) -> str | None:
    """The installed adapter for any page of text, the first of several."""
    from adapters.store.manifest import MANIFEST_FILE
    from edge_app.system import paths
    from router.routers.ridge_heads import is_for_any_page

    folder = paths.adapters_directory()
    return next((name for name in installed if is_for_any_page(folder / name / MANIFEST_FILE)), None)


def _first_tokens(settings: Settings, cases: Sequence[Any], turns: int) -> FirstToken:
    from benchmarks.quality.router.evaluation import first_tokens
    from edge_app.assistant import Assistant

    with closing(Assistant(settings, None)) as assistant:
        return first_tokens(assistant, cases, turns)


def _write_mistakes(file: Path, results: Results) -> None:
    from models.core.errors import UserError

    lines = [
        json_module.dumps(
            {
                "router": name,
                "group": decision.case.group,
                "set": decision.case.set,
                "question": decision.case.question,
                "image": None if decision.case.image is None else str(decision.case.image),
                "half": decision.case.half,
                "right": decision.case.right,
                "chosen": decision.chosen,
                "probability": decision.probability,
            },
            ensure_ascii=False,
        )
        for name, decisions in results.items()
        for decision in decisions
        if not decision.right
    ]
    try:
        file.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot write {file}: {error.strerror}.") from error


def _costs(decisions: Sequence[Decision]) -> dict[str, Cost]:
    """The cost of decisions with an image and of those without."""
    from benchmarks.quality.router.evaluation import cost

    kinds = {
        "image": [each for each in decisions if each.case.image is not None],
        "text": [each for each in decisions if each.case.image is None],
    }
    return {kind: cost(own) for kind, own in kinds.items() if own}


def _report(installed: Sequence[str], results: Results, wait: FirstToken | None) -> dict[str, Any]:
    from benchmarks.quality.router.cases import MUST_REACH
    from benchmarks.quality.router.evaluation import shares

    def counted(decisions: Sequence[Decision], key: Any) -> dict[str, Any]:
        return {
            name: {"right": share.right, "of": share.of, "share": share.value}
            for name, share in shares(decisions, key).items()
        }

    return {
        "adapters": list(installed),
        "must_reach": {group: least for group, least in MUST_REACH.items() if least is not None},
        "first_token_ms": None if wait is None else asdict(wait),
        "routers": {
            name: {
                "groups": counted(decisions, lambda each: each.case.group),
                "sets": counted(decisions, lambda each: f"{each.case.group}: {each.case.set}"),
                "halves": counted(
                    decisions, lambda each: each.case.half and f"{each.case.group}: {each.case.half}"
                ),
                "cost_ms": {kind: asdict(spent) for kind, spent in _costs(decisions).items()},
                "share_of_first_token": None if wait is None else wait.parts(_costs(decisions)["image"]),
            }
            for name, decisions in results.items()
        },
    }


def _text(results: Results, wait: FirstToken | None) -> str:
    parts = [_accuracy_table(results), _cost_table(results, wait)]
    if wait is not None:
        parts.append(
            f"Time to first token, median of {wait.turns} turns: {wait.new:.0f} ms with a new image, "
            f"{wait.shown:.0f} ms with one that was shown before."
        )
    return "\n\n".join(parts)


def _accuracy_table(results: Results) -> str:
    """A line for each group, and lines for its questions of the half for judgement, or for kinds of images."""
    from benchmarks.quality.router.cases import ANY_PAGE, MUST_REACH, UNKNOWN, WRITTEN

    rows = [("RIGHT CHOICES", "CASES", "MUST REACH", *(name.upper() for name in results))]
    for group, least in MUST_REACH.items():
        own = {name: [each for each in made if each.case.group == group] for name, made in results.items()}
        reach = "" if least is None else f"{100 * least:.0f}%"
        parts = [(group, own)]
        if group in (*WRITTEN.values(), UNKNOWN, ANY_PAGE):
            kinds = dict.fromkeys(each.case.set for made in own.values() for each in made)
            parts += [
                (
                    f"  {kind}",
                    {n: [each for each in made if each.case.set == kind] for n, made in own.items()},
                )
                for kind in kinds
            ]
        else:
            judged = {n: [each for each in made if each.case.half == "judgement"] for n, made in own.items()}
            parts.append(("  the half for judgement", judged))
        for label, part in parts:
            found = [_share_of(made) for made in part.values()]
            most = max((share.of for share in found if share), default=0)
            if most:
                shown = ("-" if share is None else f"{100 * share.value:.1f}%" for share in found)
                rows.append((label, str(most), reach, *shown))
    return text_table(rows, right=range(1, len(rows[0])))


def _share_of(decisions: Sequence[Decision]) -> Share | None:
    from benchmarks.quality.router.evaluation import shares

    return shares(decisions, lambda _: "all").get("all")


def _cost_table(results: Results, wait: FirstToken | None) -> str:
    rows = [("A DECISION", "", *(name.upper() for name in results))]
    costs = {name: _costs(made) for name, made in results.items()}
    for kind, label in (("image", "with an image"), ("text", "text alone")):
        for which, words in (("mean", "mean, ms"), ("high", "1 in 20 above, ms")):
            figures = [f"{getattr(own[kind], which):.1f}" if kind in own else "-" for own in costs.values()]
            rows.append((label, words, *figures))
    for which, words in (("new", "a new image"), ("shown", "one shown before")) if wait else ():
        assert wait is not None
        figures = [f"{100 * wait.parts(own['image'])[which]:.1f}%" for own in costs.values()]
        rows.append(("share of time to first token", words, *figures))
    return text_table(rows, right=range(2, len(rows[0])))
